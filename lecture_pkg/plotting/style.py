"""The look of every figure: white card, large type, colours that all readers can tell apart."""

import matplotlib as mpl
from cycler import cycler

# Okabe and Ito's palette (2008), its yellow left out because it vanishes on white and its
# lighter hues darkened until lines of them reach a contrast of 3:1 on white.
COLORS = {
    "blue": "#0072b2",
    "orange": "#d55e00",
    "green": "#00875f",
    "purple": "#b4558c",
    "brown": "#8c6d00",
    "sky": "#3b8fc4",
    "gray": "#666666",
    "black": "#1a1a1a",
}


def use_style() -> None:
    """Set matplotlib's defaults for the book; call it once in the opening cell.

    Figures are about 6 inches wide, so that their text is still readable when a page of
    390 pixels scales them down.
    """
    mpl.rcParams.update(
        {
            "figure.figsize": (6.2, 3.4),
            "figure.dpi": 140,
            "figure.constrained_layout.use": True,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "axes.prop_cycle": cycler(color=[COLORS[name] for name in list(COLORS)[:7]]),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.titlesize": "medium",
            "grid.color": "#dddddd",
            "grid.linewidth": 0.6,
            "font.size": 11.5,
            "legend.frameon": False,
            "legend.fontsize": "small",
            "lines.linewidth": 2.0,
            "image.cmap": "cividis",
            "image.interpolation": "nearest",
        }
    )
