"""Pictures: overlays, legends, episode panels and one figure style, all without pyplot."""

from oshp_lite.viz.images import enlarge, heat_on_photo, mask_to_rgb, outlines, overlay, palette_of, to_rgb
from oshp_lite.viz.panels import (
    add_legend,
    colour_legend,
    episode_figure,
    ids_in,
    legend_handles,
    name_regions,
    photo_grid,
    show_episode,
)
from oshp_lite.viz.style import INK, Picture, fig_to_png, new_figure, picture, show, show_image, style, use_style

__all__ = [
    "INK",
    "Picture",
    "add_legend",
    "colour_legend",
    "enlarge",
    "episode_figure",
    "fig_to_png",
    "heat_on_photo",
    "ids_in",
    "legend_handles",
    "mask_to_rgb",
    "name_regions",
    "new_figure",
    "outlines",
    "overlay",
    "palette_of",
    "photo_grid",
    "picture",
    "show",
    "show_episode",
    "show_image",
    "style",
    "to_rgb",
    "use_style",
]
