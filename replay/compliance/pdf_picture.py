"""Matplotlib's drawing as paths of a PDF page: a renderer for matplotlib, and a flowable for reportlab around it.

Only what `draw` uses is drawn: paths, filled or stroked, dashed or not, and upright or turned text. Worst case: a clip
is the rectangle of the axes, never another shape.
"""

from __future__ import annotations

from typing import Any, Final

from matplotlib import rc_context
from matplotlib.backend_bases import FigureCanvasBase, GraphicsContextBase, RendererBase
from matplotlib.figure import Figure as Plot
from matplotlib.path import Path
from reportlab.pdfbase.pdfmetrics import getAscentDescent, stringWidth
from reportlab.platypus import Flowable

from replay.compliance.document import Figure
from replay.compliance.draw import WIDTH, draw, height
from replay.report.charts import INK, RULE, STYLE

#: The page's colours, as style.css has them for light.
_SERIES: Final = ["#2f6db5", "#d9822b", "#b5367a", "#5a9e3c", "#7a5cc0", "#0f9aa8", "#9a6b3f", "#6b7787", "#111827"]
_COLOURS: Final = {INK: "#1b2330", RULE: "#c5ccd6"} | {f"#0a0b{n:02x}": colour for n, colour in enumerate(_SERIES)}
_DPI: Final = 72.0
_FONT: Final = "DejaVuSans"


def _rgb(colour: Any) -> tuple[float, float, float]:
    """The colour that stands for one of matplotlib's."""
    name = "#" + "".join(f"{round(part * 255):02x}" for part in tuple(colour)[:3])
    shown = _COLOURS.get(name, name)
    return tuple(int(shown[n : n + 2], 16) / 255 for n in (1, 3, 5))  # type: ignore[return-value]


def _dashes(gc: Any) -> tuple[float, list[float]]:
    """Where a line's dashes begin, and their lengths; none for a solid line."""
    offset, dashes = gc.get_dashes()
    return float(offset or 0), [float(dash) for dash in dashes or ()]


class _Renderer(RendererBase):
    """Draws onto a reportlab canvas, in points."""

    def __init__(self, canvas: Any, width: float, tall: float) -> None:
        super().__init__()
        self.canvas, self.width, self.tall = canvas, width, tall

    def draw_path(self, gc: GraphicsContextBase, path: Any, transform: Any, rgbFace: Any = None) -> None:  # noqa: N803  matplotlib's name
        """A path: filled with `rgbFace` where it is given, stroked where the line has a width."""
        canvas = self.canvas
        line = gc.get_linewidth()
        alpha = gc.get_alpha()
        if (rgbFace is None or (len(rgbFace) > 3 and rgbFace[3] == 0)) and line == 0:
            return
        canvas.saveState()
        self._clip(gc)
        fill = rgbFace is not None and not (len(rgbFace) > 3 and rgbFace[3] == 0)
        if fill:
            canvas.setFillColorRGB(*_rgb(rgbFace))
            canvas.setFillAlpha(alpha)
        if line > 0:
            canvas.setStrokeColorRGB(*_rgb(gc.get_rgb()))
            canvas.setLineWidth(line)
            offset, dashes = _dashes(gc)
            if dashes:
                canvas.setDash(dashes, offset)
        canvas.drawPath(self._traced(path, transform), stroke=int(line > 0), fill=int(fill))
        canvas.restoreState()

    def _traced(self, path: Any, transform: Any) -> Any:
        made = self.canvas.beginPath()
        last = (0.0, 0.0)
        for points, code in path.iter_segments(transform, simplify=False, curves=True):
            xy = [float(value) for value in points]
            if code == Path.MOVETO:
                made.moveTo(*xy)
            elif code == Path.LINETO:
                made.lineTo(*xy)
            elif code == Path.CURVE3:
                (x0, y0), (x1, y1, x2, y2) = last, xy
                ends = (x0 + 2 * (x1 - x0) / 3, y0 + 2 * (y1 - y0) / 3, x2 + 2 * (x1 - x2) / 3, y2 + 2 * (y1 - y2) / 3)
                made.curveTo(*ends, x2, y2)
            elif code == Path.CURVE4:
                made.curveTo(*xy)
            elif code == Path.CLOSEPOLY:
                made.close()
                continue
            last = (xy[-2], xy[-1])
        return made

    def _clip(self, gc: GraphicsContextBase) -> None:
        box = gc.get_clip_rectangle()
        if box is not None:
            made = self.canvas.beginPath()
            made.rect(box.x0, box.y0, box.width, box.height)
            self.canvas.clipPath(made, stroke=0, fill=0)

    def draw_text(
        self,
        gc: GraphicsContextBase,
        x: float,
        y: float,
        s: str,
        prop: Any,
        angle: float,
        ismath: Any = False,
        mtext: Any = None,
    ) -> None:
        """Text at its left end of the base line, turned by `angle` degrees."""
        canvas = self.canvas
        canvas.saveState()
        canvas.setFillColorRGB(*_rgb(gc.get_rgb()))
        canvas.translate(float(x), float(y))
        canvas.rotate(float(angle))
        canvas.setFont(_FONT, prop.get_size_in_points())
        canvas.drawString(0, 0, s)
        canvas.restoreState()

    def draw_image(self, gc: GraphicsContextBase, x: float, y: float, im: Any, transform: Any = None) -> None:
        """Figures here hold no images."""
        raise NotImplementedError("a figure of a report holds no image")

    def get_text_width_height_descent(self, s: str, prop: Any, ismath: Any) -> tuple[float, float, float]:
        """Width, height and descent of a text, in points."""
        size = prop.get_size_in_points()
        ascent, descent = getAscentDescent(_FONT, size)
        return stringWidth(s, _FONT, size), (ascent - descent) * 0.86, -descent

    def get_canvas_width_height(self) -> tuple[float, float]:
        """Size of the figure in points."""
        return self.width, self.tall

    def points_to_pixels(self, points: Any) -> Any:
        """A pixel is a point."""
        return points

    def flipy(self) -> bool:
        """The origin is below."""
        return False


class Picture(Flowable):  # type: ignore[misc]
    """A figure on a page, `width` points wide."""

    def __init__(self, figure: Figure, width: float) -> None:
        super().__init__()
        self.figure = figure
        self.scale = width / (WIDTH * _DPI)
        self.width, self.height = width, height(figure) * _DPI * self.scale

    def draw(self) -> None:
        """Draw it where reportlab has put the origin."""
        with rc_context(STYLE):  # type: ignore[arg-type]
            plot = Plot(figsize=(WIDTH, height(self.figure)), dpi=_DPI, layout="constrained")
            FigureCanvasBase(plot)
            plot.patch.set_alpha(0)
            axes = plot.add_subplot()
            axes.patch.set_alpha(0)
            axes.set_axisbelow(True)
            draw(self.figure, axes)
            self.canv.saveState()
            self.canv.scale(self.scale, self.scale)
            plot.draw(_Renderer(self.canv, WIDTH * _DPI, height(self.figure) * _DPI))
            self.canv.restoreState()
