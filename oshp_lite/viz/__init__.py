"""Pictures: overlays, legends, episode panels and one figure style, all without pyplot."""

from oshp_lite.viz.images import (
    Colours,
    enlarge,
    grey,
    heat_on_photo,
    kept,
    mask_to_rgb,
    name_of,
    outlines,
    overlay,
    palette_of,
    raw,
    to_rgb,
)
from oshp_lite.viz.panels import (
    add_legend,
    class_matrix,
    episode_figure,
    ids_in,
    legend_below,
    legend_handles,
    name_beside,
    name_regions,
    photo_grid,
)
from oshp_lite.viz.style import (
    INK,
    Picture,
    fig_to_jpeg,
    fig_to_png,
    holds_photos,
    laid_out,
    new_figure,
    picture_of,
    show,
    show_image,
    style,
    use_style,
)
