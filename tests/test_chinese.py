"""What a reader of Chinese sees is Chinese: sentences without English words, figures with real glyphs."""

import re
import warnings
from html import unescape
from pathlib import Path

import pytest
from drawn import misplaced, texts
from handmade import like_the_paper, made, outcome, table, write
from matplotlib.font_manager import fontManager
from test_every_claim import ABLATIONS, invented

from bnstudy.books.language import speaking
from bnstudy.commands import study
from bnstudy.errors import BnstudyError
from bnstudy.factors import Factor, Level
from bnstudy.judgement import parties, sentences
from bnstudy.judgement.verdicts import judge
from bnstudy.plots import figures, fonts, style
from bnstudy.plots.drawing import Drawing
from bnstudy.reporting import freshness, page, report

NAMES = {
    *("AlexNet", "GoogLeNet", "LeNet", "GroupNorm", "LayerNorm", "RMSNorm", "SkipInit", "ReLU", "Adam"),
    *("Cholesky", "Newton", "Yeo", "Johnson", "FGSM", "conv", "gamma", "beta", "logits", "tanh", "smoke"),
    *("quick", "NiN", "VGG", "SGD", "sigmoid"),
}
"""Words that stay as they are in a Chinese text."""

PAGE = {
    *("bnstudy", "paper", "Holm", "Bonett", "Fieller", "Wilson", "Fashion", "MNIST", "SHA", "CPU", "NaN"),
    *("Xiao", "Rasul", "Vollgraf"),
}
"""The same in the text of a page."""

KINDS = {ablation.figure: name for name, ablation in ABLATIONS.items() if isinstance(ablation.figure, str)}
"""An ablation for each kind of figure."""


def english(text: str) -> set[str]:
    """Return the English words of a text; levels that a profile leaves out are named as in the design."""
    without = re.sub(r"\b\w+=\w+\b", "", text)
    return {word for word in re.findall(r"[A-Za-z]{3,}", without) if word not in NAMES}


@pytest.mark.parametrize(
    "name", ["lr-sweep", "lite-bn", "replication", "placebo", "dropout-swap", "batch-size"]
)
def test_verdicts_and_answers_are_told_in_chinese(name: str) -> None:
    ablation = ABLATIONS[name].at("quick")
    frame = table(ablation, lambda arm, seed: invented(ablation, arm, seed))
    with speaking("zh"):
        told = [
            text
            for verdict in judge(ablation, frame, True)
            for text in (
                sentences.sentence(verdict),
                sentences.power(verdict),
                sentences.answer(ablation, frame, verdict),
            )
        ]
    assert {text: english(text) for text in told if english(text)} == {}
    assert all(text.endswith("\N{IDEOGRAPHIC FULL STOP}") for text in told if text)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_figures_have_real_glyphs_in_their_places(kind: str, tmp_path: Path) -> None:
    """Matplotlib warns of every glyph that no font has."""
    ablation = ABLATIONS[KINDS[kind]].at("quick")
    frame = table(ablation, lambda arm, seed: invented(ablation, arm, seed))
    with speaking("zh"), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = figures.draw(Drawing(ablation, parties.finished(frame), "预览"))
        assert misplaced(figure) == []
        figures.save(figure, tmp_path, "figure", {})
    assert english(texts(figure)) == set() == english(figure.get_label())
    assert fonts.CHINESE[0] in (tmp_path / "figure.svg").read_text(encoding="utf-8")


def page_text(html: str) -> str:
    """Return what a page says, but for code, names of files, fields, machines, and works."""
    for part in ("script", "style", "svg", "nav", "code", "pre", "dl"):
        html = re.sub(rf"<{part}\b.*?</{part}>", " ", html, flags=re.DOTALL)
    html = re.sub(r'<section id="(provenance|references)".*?</section>', " ", html, flags=re.DOTALL)
    html = re.sub(
        r'<a href="(#work-[^"]*|[^"]*.html|#lr-sweep[^"]*)".*?</a>|<td class="wide">.*?</td>', " ", html
    )
    return unescape(re.sub(r"<[^>]+>", " ", html.partition("<body>")[2]))


def test_the_page_is_chinese_and_leads_to_the_english_one(tmp_path: Path) -> None:
    ablation = ABLATIONS["lr-sweep"].at("quick")
    place = study.Place(tmp_path, "quick", print)
    write(place.folder, ablation, like_the_paper)
    with speaking("zh"):
        now = freshness.inputs([ablation], place)
        html = page.render(report.gather([ablation], place), now)
    assert english(page_text(html)) <= PAGE
    assert (
        '<html lang="zh-CN">' in html and '<a href="report.html" lang="en" hreflang="en">English</a>' in html
    )
    assert "translations" in now and "translations" not in freshness.inputs([ablation], place)
    file = tmp_path / "report.zh.html"
    file.write_text(html, encoding="utf-8")
    assert freshness.why_stale(file, now) == ""
    assert freshness.why_stale(file, now | {"translations": "other"}) == "changed since: translations"


def test_the_words_of_somebodys_own_ablation_stay_as_they_are() -> None:
    level = Level("huge", "a huge kernel", padding=2)
    factor = Factor("kernel", control=Level("usual", padding=0), treatments=(level,), varies=("padding",))
    ablation = made(factor, question="Does a huge kernel help?")
    with speaking("zh"):
        frame = table(ablation, lambda arm, seed: outcome(0.8 + 0.01 * seed))
        figure = figures.draw(Drawing(ablation, frame, ""))
    assert "Does a huge kernel help?" in texts(figure) and "a huge kernel" in texts(figure)


def test_ideographs_wrap_anywhere_but_before_a_stop_and_inside_of_a_word() -> None:
    text = "批量规范化（BatchNorm）使学习率变大，收敛更快。"
    with speaking("zh"):
        lines = style.wrapped(text, 0.9)
        assert "".join(lines) == text and len(lines) > 2
        assert all(style.width(line) <= 0.9 for line in lines)
    assert not any(line[0] in "，。）" or line[-1] == "（" for line in lines)
    assert any("BatchNorm" in line for line in lines)


def test_a_chinese_figure_lies_beside_the_english_one(tmp_path: Path) -> None:
    ablation = ABLATIONS["lr-sweep"].at("quick")
    place = study.Place(tmp_path, "quick", print)
    write(place.folder, ablation, like_the_paper)
    judged = study.judge(ablation, place)
    with speaking("zh"):
        paths = study.draw(judged, place)
    assert [path.name for path in paths] == ["lr-sweep.zh.svg", "lr-sweep.zh.png", "lr-sweep.zh.json"]


def test_a_machine_without_such_a_font_is_told_what_brings_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "PACKAGE", "no_such_package")
    monkeypatch.setattr(fontManager, "ttflist", [f for f in fontManager.ttflist if f.name == fonts.OWN])
    fonts._chinese.cache_clear()
    with speaking("zh"), pytest.raises(BnstudyError, match=r"pip install 'bnstudy\[chinese\]'"):
        fonts.families()
    fonts._chinese.cache_clear()
