BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE answers (
	study_id VARCHAR(12) NOT NULL, 
	answer TEXT NOT NULL, 
	"plan" TEXT NOT NULL, 
	saved DATETIME NOT NULL, 
	CONSTRAINT pk_answers PRIMARY KEY (study_id), 
	CONSTRAINT fk_answers_study_id FOREIGN KEY(study_id) REFERENCES studies (id)
);
INSERT INTO "answers" VALUES('89ebf82a3f46','{"metric": "accuracy", "validation_examples": 10, "trials": 3, "searched": {"trial": 0, "name": "lora", "parameters": 24, "seeds": 2, "score": {"mean": 0.91, "low": 0.88, "high": 0.94}}, "baseline": null, "difference": null, "verdict": "not compared", "chosen": 0, "ranking": null, "warnings": [], "front": [], "hypervolumes": [], "prepared": 0.0}','{"version": 1, "backbone": {"name": "tiny", "architecture": "bert", "stacks": [{"name": "", "first": 0, "blocks": 2, "width": 4, "heads": 1, "norm": "post"}], "parameters": 10000, "sites": [{"stack": "", "place": "attention.query", "kind": "linear", "path": "layer.{block}.q", "blocks": [0, 2], "inputs": 4, "outputs": 4, "bias": true, "start": null}], "digest": "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"}, "task": {"kind": "classification", "metric": "accuracy", "columns": {"text": "text", "label": "label", "pair": null, "split": null}, "labels": ["no", "yes"], "head": "mean", "max_length": 16, "digest": "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee", "split_seed": 0, "examples": [80, 10, 10], "loss": "completion"}, "where": {"model": "/models/tiny", "data": {"train": "/data/reviews.csv", "validation": null, "test": null}}, "slots": [{"method": "lora", "site": "attention.query", "blocks": [0, 2], "unit": 8, "fixed": 0, "square": 0, "once": 0, "most": 4, "stack": ""}], "configuration": {"sizes": [[1], [2]]}, "recipe": {"learning_rates": {"lora": 0.001}, "scales": {"lora": 2.0}, "head_learning_rate": 0.003, "epochs": 3, "batch_size": 32, "warmup": 0.06, "weight_decay": 0.0, "dropout": 0.0, "precision": "fp32", "rank_scaling": "constant", "gate_mean": "mask"}, "seed": 0, "parameters": 24, "head_parameters": 10, "scaffold_parameters": null, "expected": {"metric": "accuracy", "trial_score": 0.91, "interval": {"mean": 0.91, "low": 0.88, "high": 0.94}, "seeds": 2}, "provenance": {"study": "89ebf82a3f46", "trial": 0, "strategy": "random", "space": "lora", "budget": "1%", "ceiling": 100, "trials": 3, "verdict": "not compared", "versions": {"torch": "2.13"}, "created": "2025-01-01"}}','2023-11-14 22:13:20.000000');
CREATE TABLE leases (
	study_id VARCHAR(12) NOT NULL, 
	token VARCHAR(32) NOT NULL, 
	host TEXT NOT NULL, 
	namespace TEXT NOT NULL, 
	pid BIGINT NOT NULL, 
	started BIGINT NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	CONSTRAINT pk_leases PRIMARY KEY (study_id), 
	CONSTRAINT fk_leases_study_id FOREIGN KEY(study_id) REFERENCES studies (id)
);
CREATE TABLE studies (
	id VARCHAR(12) NOT NULL, 
	document TEXT NOT NULL, 
	location TEXT NOT NULL, 
	created DATETIME NOT NULL, 
	used DATETIME NOT NULL, 
	CONSTRAINT pk_studies PRIMARY KEY (id)
);
INSERT INTO "studies" VALUES('89ebf82a3f46','{"task": {"kind": "classification", "metric": "accuracy", "columns": {"text": "text", "label": "label", "pair": null, "split": null}, "labels": ["no", "yes"], "head": "mean", "max_length": 16, "digest": "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee", "split_seed": 0, "examples": [80, 10, 10], "loss": "completion"}, "backbone": {"name": "tiny", "architecture": "bert", "stacks": [{"name": "", "first": 0, "blocks": 2, "width": 4, "heads": 1, "norm": "post"}], "parameters": 10000, "sites": [{"stack": "", "place": "attention.query", "kind": "linear", "path": "layer.{block}.q", "blocks": [0, 2], "inputs": 4, "outputs": 4, "bias": true, "start": null}], "digest": "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"}, "space": {"name": "lora", "summary": "ranks", "blocks": 2, "slots": [{"method": "lora", "site": "attention.query", "blocks": [0, 2], "unit": 8, "fixed": 0, "square": 0, "once": 0, "most": 4, "stack": ""}], "genes": [{"name": "block 0", "choices": [0, 1, 2], "cells": [[0, 0]], "role": "size", "part": null, "filled": false, "keeps": []}, {"name": "block 1", "choices": [0, 1, 2], "cells": [[1, 0]], "role": "size", "part": null, "filled": false, "keeps": []}], "followers": [], "patterns": [], "allocations": [], "ceiling": null, "start_from": []}, "budget": {"text": "1%", "share": 0.01, "count": null}, "strategy": "random", "seed": 0, "recipe": {"learning_rates": {}, "scales": {}, "head_learning_rate": 0.003, "epochs": 1, "batch_size": 32, "warmup": 0.06, "weight_decay": 0.0, "dropout": 0.0, "precision": "fp32", "rank_scaling": "constant", "gate_mean": "mask"}, "finals": 2, "objectives": ["score"], "rungs": [1.0], "options": {}, "earlier": [], "owner": ""}','{"model": "/models/tiny", "data": {"train": "/data/reviews.csv", "validation": null, "test": null}}','2023-11-14 22:13:20.000000','2023-11-14 22:13:20.000000');
CREATE TABLE trials (
	study_id VARCHAR(12) NOT NULL, 
	number INTEGER NOT NULL, 
	purpose VARCHAR(16) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	score FLOAT, 
	parameters BIGINT, 
	created DATETIME NOT NULL, 
	started DATETIME, 
	ended DATETIME, 
	proposal TEXT NOT NULL, 
	outcome TEXT NOT NULL, 
	predictions BLOB, 
	CONSTRAINT pk_trials PRIMARY KEY (study_id, number), 
	CONSTRAINT fk_trials_study_id FOREIGN KEY(study_id) REFERENCES studies (id)
);
INSERT INTO "trials" VALUES('89ebf82a3f46',0,'search','complete',0.91,24,'2023-11-14 22:13:20.000000','2023-11-14 22:13:20.000000','2023-11-14 22:13:20.000000','{"configuration": {"sizes": [[1], [2]]}, "recipe": {"learning_rates": {"lora": 0.001}, "scales": {"lora": 2.0}, "head_learning_rate": 0.003, "epochs": 1, "batch_size": 32, "warmup": 0.06, "weight_decay": 0.0, "dropout": 0.0, "precision": "fp32", "rank_scaling": "constant", "gate_mean": "mask"}, "seed": 0, "purpose": "search", "fidelity": {"share": 1.0}, "label": "", "of": null, "inherited": null}','{"state": "complete", "attempts": 1, "progress": 1.0, "measurement": {"score": 0.91, "loss": 0.30000000000000004, "parameters": 24, "head_parameters": 10, "scaffold_parameters": 0, "steps": 5, "seconds": 1.5, "share": 1.0, "flops": null, "memory": null, "latency": null, "predictions": ""}, "failure": "", "rungs": []}',X'00FF01');
INSERT INTO "trials" VALUES('89ebf82a3f46',1,'search','failed',NULL,NULL,'2023-11-14 22:13:20.000000','2023-11-14 22:13:20.000000','2023-11-14 22:13:20.000000','{"configuration": {"sizes": [[1], [2]]}, "recipe": {"learning_rates": {"lora": 0.001}, "scales": {"lora": 2.0}, "head_learning_rate": 0.003, "epochs": 1, "batch_size": 32, "warmup": 0.06, "weight_decay": 0.0, "dropout": 0.0, "precision": "fp32", "rank_scaling": "constant", "gate_mean": "mask"}, "seed": 1, "purpose": "search", "fidelity": {"share": 1.0}, "label": "", "of": null, "inherited": null}','{"state": "failed", "attempts": 1, "progress": 0.0, "measurement": null, "failure": "it broke", "rungs": []}',NULL);
INSERT INTO "trials" VALUES('89ebf82a3f46',2,'search','waiting',NULL,NULL,'2023-11-14 22:13:20.000000',NULL,NULL,'{"configuration": {"sizes": [[1], [2]]}, "recipe": {"learning_rates": {"lora": 0.001}, "scales": {"lora": 2.0}, "head_learning_rate": 0.003, "epochs": 1, "batch_size": 32, "warmup": 0.06, "weight_decay": 0.0, "dropout": 0.0, "precision": "fp32", "rank_scaling": "constant", "gate_mean": "mask"}, "seed": 2, "purpose": "search", "fidelity": {"share": 1.0}, "label": "", "of": null, "inherited": null}','{"state": "waiting", "attempts": 0, "progress": 0.0, "measurement": null, "failure": "", "rungs": []}',NULL);
COMMIT;
