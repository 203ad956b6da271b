"""Cut the font for visible labels out of Noto Sans CJK: `make_mark_font.py NotoSansCJK-Bold.ttc`.

Needs fonttools. The source is Debian's fonts-noto-cjk (SIL Open Font License 1.1).
"""

import string
import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTCollection

LETTERS = (
    string.digits + string.ascii_letters + string.punctuation + " ·—（）：，。「」"
    "人工智能生成合成辅助创作制由本图片内容作品使用模型自动仅供参考标识提示"
)
PLACE = Path(__file__).parents[1] / "sdbatch/assets/fonts"


def main() -> None:
    """Write the subset beside its licence."""
    for font in TTCollection(sys.argv[1]).fonts:
        if font["name"].getDebugName(1) == "Noto Sans CJK SC":
            break
    options = subset.Options(notdef_outline=True, hinting=False, layout_features=[])
    cutter = subset.Subsetter(options)
    cutter.populate(text=LETTERS)
    cutter.subset(font)
    target = PLACE / "NotoSansSC-Bold-labels.otf"
    font.save(target)
    print(target, target.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
