"""What a report draws of the trials."""

from dataclasses import replace

from autopeft.answer import Interval, Ranking
from autopeft.evidence import Evidence, Hardware, Scored
from autopeft.objectives import best, hypervolumes
from autopeft.report.drawn import (
    course_drawn,
    evidence_drawn,
    front_drawn,
    trust_drawn,
    volumes_drawn,
)
from autopeft.trial import Purpose
from tests.report.studies import NAN, many
from tests.test_report import STUDY, TRIALS, a_plan


def test_the_front_is_marked_and_its_line_rises():
    study, trials = many(30)
    (drawn,) = front_drawn(study, trials, best(study, trials))

    assert len(drawn.points) == 30
    assert sum(point.marked for point in drawn.points) == len(best(study, trials))
    assert sum(point.whole for point in drawn.points) == 10
    steps = drawn.lines[0].points
    assert list(steps) == sorted(steps)
    assert [y for _, y in steps] == sorted({y for _, y in steps})
    assert drawn.limit == (400.0, "budget")


def test_the_hypervolume_is_drawn_where_it_changes():
    volumes = hypervolumes(STUDY, TRIALS)
    (drawn,) = volumes_drawn(STUDY, TRIALS)

    assert drawn.lines[0].points == ((0.0, 0.0), (1.0, volumes[1]), (6.0, volumes[-1]))
    assert "grew for the last time with trial 1 of 7" in drawn.text


def test_time_is_all_work_before_a_trial_and_of_it():
    (drawn,) = course_drawn(STUDY, TRIALS, 10.0)

    assert [(p.x, p.kind) for p in drawn.points] == [
        (11.5, Purpose.BASELINE), (13.0, Purpose.SEARCH),
        (14.5, Purpose.FINAL), (16.0, Purpose.FINAL),
    ]  # fmt: skip
    assert drawn.lines[0].points == ((11.5, 0.75), (13.0, 0.9), (16.0, 0.9))


def test_probes_are_marked_among_inherited_scores():
    tau = Interval(mean=0.5, low=0.1, high=0.9)
    ranking = Ranking(tau=tau, rho=tau, pairs=5, share=0.5)
    study, trials = many(20)
    probe = replace(trials[5], proposal=replace(trials[5].proposal, label="probe"))
    (drawn,) = trust_drawn(study, (*trials[:5], probe, *trials[6:]), ranking)

    assert next(p.tip for p in drawn.points if p.marked).startswith("trial 5, probe: ")
    assert len(drawn.points) == 17  # without the baselines


def test_what_was_correlated_is_what_is_drawn():
    tau = Interval(mean=0.5, low=0.1, high=0.9)
    study, trials = many(20)
    by_score = Ranking(tau=tau, rho=tau, pairs=5, share=0.5)
    (drawn,) = trust_drawn(study, trials, replace(by_score, against="loss"))
    (scores,) = trust_drawn(study, trials, by_score)

    assert (drawn.y.label, scores.y.label) == ("measured negative loss", "measured accuracy")
    losses = {-found.loss for trial in trials if (found := trial.at(0.5))}
    assert {point.y for point in drawn.points} <= losses


def test_what_is_no_number_is_not_drawn():
    bad = tuple(
        replace(t, measurement=replace(t.measurement, score=NAN)) if t.measurement else t
        for t in TRIALS
    )

    assert front_drawn(STUDY, bad, ()) == ()
    assert course_drawn(STUDY, bad, 0.0) == ()
    assert volumes_drawn(STUDY, bad) == ()
    assert volumes_drawn(STUDY, ()) == ()


def test_a_plans_evidence_is_enough_for_a_front():
    """Baselines and finalists make the line, repetitions are shown beside it."""

    def scored(trial, parameters, mean, purpose=Purpose.BASELINE):
        return Scored(
            trial=trial, purpose=purpose, name="plain LoRA", of=None, seed=0,
            parameters=parameters, score=Interval(mean=mean, low=mean, high=mean),
        )  # fmt: skip

    machine = Hardware(system="Linux", processor="a processor", cores=2, accelerator=None)
    evidence = Evidence(
        code="abc", backbone_revision=None, hardware=machine, study_seed=0, baselines=(),
        ranking=None,
        scores=(
            scored(0, 300, 0.8), scored(1, 100, 0.7), scored(2, 200, 0.6),
            scored(3, 100, 0.9, Purpose.FINAL), scored(4, 50, NAN),
        ),
    )  # fmt: skip

    (drawn,) = evidence_drawn(replace(a_plan(), evidence=evidence))

    assert drawn.lines[0].points == ((100.0, 0.7), (300.0, 0.8))
    assert [point.marked for point in drawn.points] == [True, True, False, False]
    assert evidence_drawn(a_plan()) == ()
