"""A page to try methods on single images: ``python -m benchmark.explore [key=value ...]``.

It is served on this machine only, loads nothing from the internet, and needs Gradio:
``pip install -e ".[explore]"``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark.config import load
from benchmark.errors import BadInput, UnreadableImage
from benchmark.exploring import Explorer, Picture, Result, models, side_by_side
from benchmark.own_folder import add_folder
from benchmark.resolvers import about_methods

LARGEST = "10mb"  # upload
RESOLUTIONS = (224, 112, 56, 28, 14, 7)
STARTING = ("gradcam", "integrated_gradients", "igos")
HEADINGS = ("method", "deletion ↓", "insertion ↑", "seconds", "forward", "backward", "note")


def page(explorer: Explorer, weights_root: str | None) -> Any:
    """Lay out the page; returns Gradio's Blocks."""
    import gradio as gr  # noqa: PLC0415 - not installed unless asked for

    known = models(weights_root, explorer.own)
    kept = tempfile.TemporaryDirectory()  # of the last figure, for as long as the page is served
    with gr.Blocks(title="Saliency explorer", analytics_enabled=False) as blocks:
        gr.Markdown("# Which pixels made the network decide so?")
        state = gr.State(None)  # the picture that is explained
        with gr.Row():
            with gr.Column(scale=1):
                model = gr.Dropdown(known, value=known[0], label="model")
                offered = explorer.examples(known[0])
                example = gr.Dropdown(offered, value=None, label="choose an image of its data set")
                upload = gr.Image(type="pil", sources=["upload"], label="or one of yours")
            with gr.Column(scale=1):
                seen = gr.Image(
                    label="as the model sees it", interactive=False, height=300, buttons=[]
                )
                target = gr.Dropdown([], label="class to explain (the five most probable)")
            with gr.Column(scale=1):
                methods = gr.Dropdown(
                    [*about_methods(explorer.own)],
                    value=[*STARTING],
                    multiselect=True,
                    label="methods",
                )
                res = gr.Dropdown(RESOLUTIONS, value=14, label="cells along a side")
                run = gr.Button("Explain", variant="primary")
        figure = gr.Plot(label="heatmaps and curves")
        table = gr.Dataframe(headers=list(HEADINGS), label="scores and cost", interactive=False)
        commands = gr.Code(language="shell", label="the same from the command line")
        download = gr.File(label="the figure as PDF")

        def shown(name: str, picture: Picture) -> tuple[Any, Any, Any]:
            classes = explorer.classes(name, picture)
            offered = [(f"{title} {chance:.3f}", number) for number, title, chance in classes]
            return (
                picture,
                explorer.pixels(name, picture),
                gr.Dropdown(offered, value=offered[0][1]),
            )

        def chosen(name: str, image_id: str | None) -> tuple[Any, Any, Any]:
            if not image_id:
                return None, None, gr.Dropdown([], value=None)
            return shown(name, explorer.example(name, image_id))

        def uploaded(name: str, image: Any) -> tuple[Any, Any, Any]:
            if image is None:
                return None, None, gr.Dropdown([], value=None)
            return shown(name, explorer.upload(image))

        def changed(name: str) -> tuple[Any, None, None, None, Any]:
            """Forget the picture: the classes that are offered are another model's."""
            offered = gr.Dropdown(explorer.examples(name), value=None)
            return offered, None, None, None, gr.Dropdown([], value=None)

        def explained(
            name: str, picture: Picture | None, number: int | None, names: list[str], cells: int
        ) -> Iterator[tuple[Any, Any, str, Any]]:
            if picture is None or number is None or not names:
                raise gr.Error("choose an image, a class and at least one method")
            pixels = _polite(explorer.pixels)(name, picture)
            results: list[Result] = []
            for result in explorer.explain(name, picture, names, res=cells, target=number):
                results.append(result)
                yield (*_views(pixels, results), None)
            file = Path(kept.name) / "explained.pdf"
            side_by_side(pixels, results).savefig(file)
            yield (*_views(pixels, results), str(file))

        model.change(_polite(changed), model, [example, upload, state, seen, target])
        example.input(_polite(chosen), [model, example], [state, seen, target])
        upload.input(_polite(uploaded), [model, upload], [state, seen, target])
        results = [figure, table, commands, download]
        for changes in (model.change, example.input, upload.input):
            changes(lambda: (None, None, None, None), None, results)  # they are of another image
        run.click(
            explained, [model, state, target, methods, res], [figure, table, commands, download]
        )
    return blocks


def _polite(function: Any) -> Any:
    """Say what a user got wrong, in Gradio's way."""
    import gradio as gr  # noqa: PLC0415 - not installed unless asked for

    def told(*given: Any) -> Any:
        try:
            return function(*given)
        except (BadInput, UnreadableImage, OSError) as error:
            raise gr.Error(str(error)) from error

    return told


def _views(pixels: Any, results: list[Result]) -> tuple[Any, list[list[object]], str]:
    lines = [
        [each.method, *_numbers(each), each.error or "as on the command line"] for each in results
    ]
    return side_by_side(pixels, results), lines, "\n".join(each.command for each in results)


def _numbers(result: Result) -> list[object]:
    if result.values is None:
        return [None] * 5
    scores = [round(result.values[name], 4) for name in ("deletion", "insertion")]
    return [*scores, round(result.seconds, 3), *result.passes]


def main() -> int:
    """Serve the page until it is stopped; 2 for bad input."""
    parser = argparse.ArgumentParser(prog="benchmark.explore", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="as for benchmark: device=cpu protocol=rise")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in")
    parser.add_argument("--port", type=int, default=7860)
    add_folder(parser)
    arguments = parser.parse_intermixed_args()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        import gradio  # noqa: F401, PLC0415 - not installed unless asked for
    except ImportError:
        print('benchmark.explore: needs Gradio: pip install -e ".[explore]"', file=sys.stderr)
        return 2
    try:
        settings = load(*arguments.overrides, folder=arguments.config_dir)
        folder = Path(settings.results).resolve() / "explore"
        root = load("model=squeezenet1_1").model.weights_root
        blocks = page(Explorer(arguments.overrides, folder, arguments.config_dir), root)
    except (BadInput, OSError) as error:
        print(f"benchmark.explore: {error}", file=sys.stderr)
        return 2
    print(f"serving http://{arguments.host}:{arguments.port} until it is stopped", flush=True)
    try:
        _serve(blocks, arguments)
    except OSError as error:
        print(f"benchmark.explore: {str(error).partition('.')[0]}: try --port", file=sys.stderr)
        return 2
    return 0


def _serve(blocks: Any, arguments: argparse.Namespace) -> None:
    import gradio as gr  # noqa: PLC0415 - not installed unless asked for

    blocks.launch(
        server_name=arguments.host,
        server_port=arguments.port,
        share=False,
        quiet=True,
        max_file_size=LARGEST,
        footer_links=[],
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
    )


if __name__ == "__main__":
    sys.exit(main())
