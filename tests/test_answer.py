"""What an answer says in its sentence."""

from dataclasses import replace

import pytest

from autopeft.answer import Answer, Finalist, Interval, Ranking, perplexity, with_perplexity
from autopeft.records import from_json, to_json

SEARCHED = Finalist(
    trial=7, name="lora@attention.query 8", parameters=1_500, seeds=3,
    score=Interval(mean=0.91, low=0.88, high=0.94),
)  # fmt: skip
BASELINE = Finalist(
    trial=0, name="plain LoRA", parameters=2_000, seeds=3,
    score=Interval(mean=0.87, low=0.84, high=0.9),
)  # fmt: skip
ANSWER = Answer(
    metric="accuracy", validation_examples=40, trials=12, searched=SEARCHED, baseline=BASELINE,
    difference=Interval(mean=0.04, low=0.01, high=0.07), verdict="better", chosen=7,
)  # fmt: skip
FOUND = (
    "lora@attention.query 8 (trial 7) reaches accuracy 0.910 (95% interval 0.880 to 0.940, "
    "3 fresh seeds) with 1,500 trained parameters; "
)
STOOD = (
    "plain LoRA (trial 0) reaches accuracy 0.870 (95% interval 0.840 to 0.900, "
    "3 fresh seeds) with 2,000 trained parameters; "
)
NOISE = Interval(mean=0.004, low=-0.02, high=0.03)
LOSS = Interval(mean=-0.04, low=-0.07, high=-0.01)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {},
            FOUND + "it is better than the best baseline, plain LoRA (trial 0), at the same budget "
            "(searched minus baseline +0.040, 95% interval +0.010 to +0.070).",
        ),
        (
            {"difference": NOISE, "verdict": "no difference beyond noise", "chosen": 0},
            STOOD + "the best searched configuration (trial 7) shows no difference beyond noise "
            "(searched minus baseline +0.004, 95% interval -0.020 to +0.030).",
        ),
        (
            {"difference": NOISE, "verdict": "no difference beyond noise"},
            FOUND + "the best baseline, plain LoRA (trial 0) shows no difference beyond noise "
            "(searched minus baseline +0.004, 95% interval -0.020 to +0.030).",
        ),
        (
            {"difference": LOSS, "verdict": "worse", "chosen": 0},
            STOOD + "the best searched configuration (trial 7) is worse "
            "(searched minus baseline -0.040, 95% interval -0.070 to -0.010).",
        ),
        (
            {"difference": LOSS, "verdict": "worse"},
            FOUND + "it is worse than the best baseline, plain LoRA (trial 0), which lies outside "
            "the search space (searched minus baseline -0.040, 95% interval -0.070 to -0.010).",
        ),
        (
            {"verdict": "not compared"},
            FOUND + "3 fresh seeds are too few to tell it from the best baseline, plain LoRA "
            "(trial 0) (searched minus baseline +0.040, 95% interval +0.010 to +0.070).",
        ),
        (
            {"baseline": None, "difference": None, "verdict": "not compared"},
            FOUND + "there was nothing to compare it with.",
        ),
    ],
    ids=[
        "better",
        "noise, baseline stands",
        "noise, fewer parameters",
        "worse",
        "worse than what the space lacks",
        "too few seeds",
        "not compared",
    ],
)
def test_the_sentence_says_what_was_found_and_how_sure_that_is(changes, sentence):
    assert replace(ANSWER, **changes).sentence() == sentence


def test_a_score_of_one_seed_is_said_to_be_one():
    alone = replace(ANSWER, searched=replace(SEARCHED, seeds=0))

    assert "0.880 to 0.940, its own seed) with" in alone.sentence()


def test_a_log_likelihood_is_said_as_a_perplexity_too():
    """The perplexity of -2 nats a token is e squared."""
    searched = replace(SEARCHED, score=Interval(mean=-2.0, low=-2.1, high=-1.9))
    answer = replace(ANSWER, metric="log_likelihood", searched=searched)

    assert (
        "log_likelihood -2.000 (95% interval -2.100 to -1.900, 3 fresh seeds, perplexity 7.389)"
        in (answer.sentence())
    )


def test_only_a_log_likelihood_has_a_perplexity():
    assert perplexity("accuracy", 0.5) is None
    assert with_perplexity("accuracy", 0.5) == "0.5000"
    assert with_perplexity("log_likelihood", -1.0) == "-1.0000, perplexity 2.718"


def test_a_perplexity_that_no_number_can_hold_is_infinite():
    assert with_perplexity("log_likelihood", -800.0) == "-800.0000, perplexity inf"


def test_an_answer_that_chose_no_finalist_is_our_own_mistake():
    with pytest.raises(ValueError, match="the chosen trial is no finalist"):
        _ = replace(ANSWER, chosen=3).finalist


def test_an_interval_is_written_with_three_digits():
    assert str(SEARCHED.score) == "0.910 [0.880, 0.940]"


def test_an_answer_that_was_stored_before_there_were_rankings_and_fronts_is_read():
    document = to_json(ANSWER)
    for later in ("ranking", "warnings", "front", "hypervolumes"):
        del document[later]

    assert from_json(Answer, document) == ANSWER


def test_an_answer_is_read_back_with_its_ranking_and_front():
    ranking = Ranking(tau=NOISE, rho=LOSS, pairs=6, share=0.1)
    answer = replace(
        ANSWER, ranking=ranking, warnings=("why",), front=(0, 7), hypervolumes=(0.0, 1.5)
    )

    assert from_json(Answer, to_json(answer)) == answer


def test_a_ranking_that_was_stored_before_losses_counted_was_by_scores():
    ranking = Ranking(tau=NOISE, rho=LOSS, pairs=6, share=0.1)
    document = to_json(replace(ANSWER, ranking=ranking))
    del document["ranking"]["against"]

    assert from_json(Answer, document).ranking.against == "score"


def test_a_single_fresh_seed_is_told_as_one():
    one = {name: replace(getattr(ANSWER, name), seeds=1) for name in ("searched", "baseline")}

    sentence = replace(ANSWER, **one, verdict="not compared").sentence()

    assert ", 1 fresh seed)" in sentence
    assert "; 1 fresh seed is too few to tell it from the best baseline" in sentence
