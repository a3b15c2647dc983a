"""The page's colours and fonts for Gradio: the reader's own fonts, greys, and one colour for what can be pressed."""

import gradio as gr


def theme() -> gr.themes.Base:
    """A quiet theme in light and dark that loads nothing."""
    made = gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        radius_size=gr.themes.sizes.radius_md,
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Noto Sans CJK SC", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "DejaVu Sans Mono", "monospace"],
    )
    return made.set(
        body_background_fill="#fbfaf8", body_background_fill_dark="#181716",
        background_fill_primary="#fbfaf8", background_fill_primary_dark="#181716",
        background_fill_secondary="#f3f1ed", background_fill_secondary_dark="#201e1d",
        block_background_fill="transparent", block_background_fill_dark="transparent",
        block_border_width="0px", block_border_width_dark="0px", block_shadow="none", block_shadow_dark="none",
        border_color_primary="#e4e0d9", border_color_primary_dark="#35322f",
        input_background_fill="#ffffff", input_background_fill_dark="#2b2826",
        body_text_color="#24211e", body_text_color_dark="#e8e4df",
        body_text_color_subdued="#6f6962", body_text_color_subdued_dark="#a29b93",
        slider_color="#0f766e", slider_color_dark="#2dd4bf", link_text_color="#0f766e", link_text_color_dark="#5eead4",
    )  # fmt: skip
