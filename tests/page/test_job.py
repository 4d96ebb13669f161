"""One search: what was found, how it went, and what can be done with it."""

import json
import re
from dataclasses import replace

import pytest
from playwright.sync_api import expect

from autopeft.service.event import Happening
from autopeft.service.job import JobState, Progress
from autopeft.trial import Purpose

pytestmark = pytest.mark.slow
MINUS, NONE = "\N{MINUS SIGN}", "\N{EN DASH}"


def at(site, name: str) -> str:
    return f"{site.url}#/searches/{site.ids[name]}"


def known(site, name: str):
    """Return the job of a search, its study and its trials as the store has them."""
    job = site.written.service.jobs.job(site.ids[name])
    study = site.written.store.study(job.study)
    return job, study, site.written.store.trials(study.id)


def section(page, title: str):
    return page.get_by_role("region", name=title)


def numbers(page, title: str) -> list[list[str]]:
    """Open the table of a picture's numbers and read its rows."""
    part = section(page, title)
    part.get_by_text("The numbers as a table").click()
    rows = part.locator(".numbers tbody tr")
    rows.first.wait_for()
    return [row.locator("th, td").all_inner_texts() for row in rows.all()]


class TestAnswer:
    """What was found, in words and then in numbers."""

    def test_the_sentence_comes_first_then_the_verdict_then_the_numbers(self, site, page):
        job, _, _ = known(site, "finished")
        page.goto(at(site, "finished"))
        text = section(page, "The answer").inner_text()

        sentence = job.result["sentence"]
        places = [
            text.index(part)
            for part in (sentence[1:], "Verdict: better.", "Warning: trial 9", "In numbers")
        ]
        assert places == sorted(places)

    def test_the_finalists_stand_side_by_side_and_one_is_the_plan(self, site, page):
        job, _, _ = known(site, "finished")
        answer = job.result["answer"]
        page.goto(at(site, "finished"))
        row = section(page, "The answer").get_by_role("row", name="the plan")

        expect(row).to_contain_text(f"{answer['searched']['parameters']:,}")
        expect(row).to_contain_text(f"{answer['searched']['score']['mean']:.3f}")

    def test_tau_of_the_supernet_is_told_with_its_interval(self, site, page):
        job, _, _ = known(site, "finished")
        tau = job.result["answer"]["ranking"]["tau"]
        page.goto(at(site, "finished"))
        part = section(page, "How far the supernet could be trusted")

        expect(part).to_contain_text(f"{tau['mean']:.3f} [{MINUS}{-tau['low']:.3f}")
        expect(part.get_by_role("img")).to_be_visible()

    def test_a_search_that_failed_says_why_and_where_to_look(self, site, page):
        page.goto(at(site, "failed"))

        expect(page.get_by_role("alert")).to_contain_text("allow at least 0.0017%")
        expect(page.get_by_role("alert")).to_contain_text("Look at budget.")

    def test_a_search_that_is_nobodys_is_told_in_a_sentence(self, site, browser_window):
        with browser_window() as window:
            window.page.goto(f"{site.url}#/searches/search_ffffffffffff")

            expect(window.page.get_by_role("alert").first).to_contain_text("search_ffffffffffff")


class TestPictures:
    """The plots and the map, and the tables behind them."""

    def test_the_front_has_every_measured_trial_the_budget_and_the_baselines(self, site, page):
        _, study, trials = known(site, "finished")
        page.goto(at(site, "finished"))
        part = section(page, "What it reaches with how much")
        measured = [trial for trial in trials if trial.measurement or trial.rungs]

        expect(part.locator(".chart .point")).to_have_count(len(measured))
        expect(part.locator(".chart .point.baseline")).to_have_count(3)
        expect(part.locator(".chart line.budget")).to_have_count(1)
        expect(part.locator("desc")).to_contain_text(f"allows {study.ceiling:,} parameters")
        assert part.locator("path.front").get_attribute("d").startswith("M")

    def test_its_numbers_are_those_of_the_store(self, site, page):
        _, study, trials = known(site, "finished")
        page.goto(at(site, "finished"))
        rows = numbers(page, "What it reaches with how much")
        shown = {int(row[0]): (row[2], row[3]) for row in rows}
        slots = study.space.slots

        assert shown == {
            t.number: (f"{t.proposal.configuration.parameters(slots):,}", f"{t.latest.score:.4f}")
            for t in trials
            if t.latest
        }

    def test_score_against_time_goes_by_the_clock_of_the_events(self, site, page):
        job, _, trials = known(site, "finished")
        page.goto(at(site, "finished"))
        part = section(page, "Score against time")
        best = max(
            (t for t in trials if t.complete and t.proposal.purpose is not Purpose.FINAL),
            key=lambda t: t.score,
        )

        expect(part.locator("svg").first).to_contain_text("minutes since the start")
        expect(part.locator("desc")).to_contain_text(f"came with trial {best.number}")
        times = [float(row[2]) for row in numbers(page, "Score against time")]
        assert times == sorted(times)
        assert times[-1] == pytest.approx((job.ended - job.started).total_seconds() / 60, abs=0.1)

    def test_the_map_shows_the_sizes_of_the_plan(self, site, page):
        job, study, trials = known(site, "finished")
        page.goto(at(site, "finished"))
        chosen = job.result["answer"]["chosen"]
        table = next(t for t in trials if t.number == chosen).proposal.configuration.sizes
        used = [i for i in range(len(study.space.slots)) if any(row[i] for row in table)]

        expect(section(page, "Where the parameters are")).to_contain_text("of which the plan")
        rows = numbers(page, "Where the parameters are")
        assert rows == [
            [str(block), *(str(row[i] or "·") for i in used)] for block, row in enumerate(table)
        ]

    def test_another_trial_can_be_shown_in_the_map(self, site, page):
        page.goto(at(site, "finished"))
        button = page.get_by_role("button", name="Show the sizes of trial 5", exact=True)
        button.click()

        expect(button).to_have_attribute("aria-pressed", "true")
        expect(page.get_by_role("img", name="Sizes of trial 5, blocks by slots")).to_be_visible()


class TestTrials:
    """The table of trials."""

    def rows(self, page):
        return section(page, "Trials").locator("tbody tr")

    def test_every_trial_has_a_row(self, site, page):
        _, _, trials = known(site, "finished")
        page.goto(at(site, "finished"))

        expect(self.rows(page)).to_have_count(len(trials))
        expect(self.rows(page).nth(9)).to_contain_text("the loss became nan at step 41")
        expect(self.rows(page).nth(12)).to_contain_text("out of memory")

    def test_filters_keep_a_state_a_purpose_a_word_and_the_front(self, site, page):
        page.goto(at(site, "finished"))
        part = section(page, "Trials").first

        part.get_by_label("Purpose").select_option("baseline")
        expect(self.rows(page)).to_have_count(3)
        part.get_by_label("Purpose").select_option("")
        part.get_by_label("State").select_option(label="failed")
        expect(self.rows(page)).to_have_count(1)
        part.get_by_label("State").select_option("")
        part.get_by_label("Containing").fill("plain lora")
        expect(self.rows(page)).to_have_count(1)
        part.get_by_label("Containing").fill("")
        part.get_by_label("only the front").check()
        expect(self.rows(page).filter(has_text="front").first).to_be_visible()
        expect(self.rows(page).filter(has_not_text="front")).to_have_count(0)

    def test_a_column_sorts_both_ways_and_says_so(self, site, page):
        page.goto(at(site, "finished"))
        head = section(page, "Trials").get_by_role("columnheader", name="accuracy")
        head.get_by_role("button").click()
        expect(head).to_have_attribute("aria-sort", "descending")
        cells = section(page, "Trials").locator("tbody tr td:nth-child(5)")
        scores = [float(text) for text in cells.all_inner_texts() if text != NONE]
        assert scores == sorted(scores, reverse=True)

        head.get_by_role("button").click()
        expect(head).to_have_attribute("aria-sort", "ascending")
        assert [float(t) for t in cells.all_inner_texts() if t != NONE] == sorted(scores)
        assert cells.all_inner_texts()[-1] == NONE, "what has no score comes last either way"


class TestFiles:
    """What can be taken away."""

    @pytest.mark.parametrize("name", ["plan.json", "report.html", "report.md"])
    def test_plan_and_report_are_saved_as_the_service_has_them(self, site, page, name):
        page.goto(at(site, "finished"))
        with page.expect_download() as saved:
            page.get_by_role("button", name=f"Download {name}").click()
        text = saved.value.path().read_text("utf-8")

        assert saved.value.suggested_filename == f"{site.ids['finished']}-{name}"
        if name == "plan.json":
            assert json.loads(text)["provenance"]["study"] == known(site, "finished")[1].id
        else:
            assert "## Pareto front" in text

    def test_before_the_end_it_says_when_there_will_be_some(self, site, page):
        page.goto(at(site, "running"))

        expect(section(page, "Downloads")).to_contain_text("when the search is done")


class TestLive:
    """A search that goes on while somebody looks at it."""

    def test_cost_so_far_and_to_come_are_told(self, site, page):
        page.goto(at(site, "running"))
        part = section(page, "Progress and cost")

        expect(part).to_contain_text("Trials: 14 of 36")
        expect(part).to_contain_text(re.compile(r"To come\s*about 5 min, until about"))
        expect(part).to_contain_text(re.compile(r"So far\s*5 min"))

    def test_what_happens_is_shown_as_it_happens(self, fresh, page):
        job = fresh.written.running(trials=3)
        page.goto(f"{fresh.url}#/searches/{job.id}")
        expect(section(page, "Progress and cost")).to_contain_text("Trials: 3 of 36")

        fresh.written.claim.write(
            lambda j: replace(j, progress=Progress(phase="finals", trials=20, of=36, best=0.9)),
            Happening(kind="message", message="half of it is done"),
        )
        expect(section(page, "What happened").locator("li").first).to_contain_text(
            "Half of it is done"
        )
        expect(section(page, "Progress and cost")).to_contain_text("Trials: 20 of 36")
        expect(page.locator("#announcer")).to_have_text("20 of 36 trials have ended.")

    def test_the_end_of_it_is_announced(self, fresh, page):
        job = fresh.written.running(trials=3)
        page.goto(f"{fresh.url}#/searches/{job.id}")
        expect(page.get_by_role("heading", level=1)).to_contain_text("running")
        fresh.written.claim.write(lambda j: replace(j, state=JobState.CANCELLED))

        expect(page.get_by_role("heading", level=1)).to_contain_text("cancelled")
        expect(page.locator("#announcer")).to_have_text("The search is cancelled.")

    def test_the_log_can_be_narrowed_to_what_went_wrong(self, site, page):
        page.goto(at(site, "running"))
        part = section(page, "What happened")
        part.get_by_label("Show").select_option(label="warnings and errors")

        expect(part.locator("li")).to_have_count(2)
        expect(part.locator("li").first).to_contain_text("warning")


class TestButtons:
    """Pause, resume, cancel, extend."""

    def state(self, site, job) -> str:
        return site.written.service.jobs.job(job.id).state

    def test_a_search_is_paused_resumed_and_cancelled(self, fresh, page):
        job = fresh.written.submitted()
        page.goto(f"{fresh.url}#/searches/{job.id}")
        heading = page.get_by_role("heading", level=1)

        page.get_by_role("button", name="Pause").click()
        expect(heading).to_contain_text("paused")
        assert self.state(fresh, job) == "paused"
        page.get_by_role("button", name="Resume").click()
        expect(heading).to_contain_text("checking")
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("dialog").get_by_role("button", name="Cancel the search").click()
        expect(heading).to_contain_text("cancelled")
        assert self.state(fresh, job) == "cancelled"

    def test_a_cancellation_can_be_thought_over(self, fresh, page):
        job = fresh.written.submitted()
        page.goto(f"{fresh.url}#/searches/{job.id}")
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Let it go on").click()

        expect(page.get_by_role("dialog")).to_have_count(0)
        assert self.state(fresh, job) == "validating"

    def test_a_search_is_extended(self, fresh, page):
        job = fresh.written.submitted()
        page.goto(f"{fresh.url}#/searches/{job.id}")
        page.get_by_role("button", name="Extend").click()
        page.get_by_label("Trials in all").fill("50")
        page.get_by_label("Minutes at most").fill("2")
        page.get_by_role("button", name="Extend the search").click()

        expect(section(page, "What was asked")).to_contain_text("50 trials, 2 min at most")
        limits = fresh.written.service.jobs.job(job.id).request["limits"]
        assert limits == {"trials": 50, "seconds": 120.0, "finals": 3}

    def test_what_is_not_possible_says_why(self, site, page):
        page.goto(at(site, "finished"))
        button = page.get_by_role("button", name="Pause")

        expect(button).to_have_attribute("aria-disabled", "true")
        button.click(force=True)
        expect(page.locator("#announcer")).to_have_text(
            "Pause is not possible: the search is done."
        )
