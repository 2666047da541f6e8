"""The section on subgroups: ranking within each, and the gaps between them."""

from __future__ import annotations

from melanoma_tf.report import figures, markup
from melanoma_tf.report.contents import Evaluation
from melanoma_tf.report.groups import FEWEST_MELANOMA, Gap, find_gaps, find_groups


def subgroups(evaluation: Evaluation) -> str:
    """AUC within sex, age band, site and source, and the largest gap of each."""
    groups = find_groups(evaluation)
    if not groups:
        return ""
    low = figures.lowest([group.auc for group in groups])
    overall = evaluation.auc.value if evaluation.auc else None
    rows: list[tuple] = []
    for number, group in enumerate(groups):
        if number == 0 or groups[number - 1].kind != group.kind:
            rows.append((group.kind.capitalize(),))
        counts = f"{int(evaluation.target[group.mask].sum()):,} of {int(group.mask.sum()):,}"
        auc = markup.interval(group.auc) if group.auc else "too few"
        rows.append((group.name, counts, auc, figures.mark(group.auc, low, 1, overall)))
    lead = f"Ranking within each group. Under {FEWEST_MELANOMA} melanoma no figure is given. Skin type is not recorded."
    table = markup.table(("Group", "Melanoma of images", "AUC [95 %]", figures.mark_scale(low)), rows)
    return markup.section("Who it works for", lead, table, _gaps(find_gaps(evaluation, groups)))


def _gaps(gaps: list[Gap]) -> str:
    if not gaps:
        return ""
    rows = [(f"{gap.better.kind.capitalize()}: {gap.better.name} above {gap.worse.name}",
             markup.signed(gap.value, gap.low, gap.high), "yes" if gap.certain else "no") for gap in gaps]  # fmt: skip
    certain = sum(gap.certain for gap in gaps)
    verdict = (
        "No gap is larger than chance explains; that is not proof of equal quality, where groups are small."
        if not certain else
        f"{certain} of these gaps {'is' if certain == 1 else 'are'} larger than chance explains."
    )  # fmt: skip
    meaning = (
        "The largest gap of each kind, and every other one that excludes 0. The limits allow for the number of pairs "
        "compared. A gap may come from how hard the group's lesions are, not only from the model."
    )
    header = ("Groups", "Gap in AUC [95 %]", "Excludes 0")
    return f'<h3 class="gap">Gaps</h3>{markup.table(header, rows)}{markup.note(f"{verdict} {meaning}")}'
