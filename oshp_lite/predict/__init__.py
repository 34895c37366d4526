"""Parse photos from one or more marked ones. Five lines do it:

    from oshp_lite import assets, files
    from oshp_lite.predict import Parser, load_network
    parser = Parser(load_network(assets.checkpoint("photos")))
    parser.support(files.read_image("a.jpg", upright=True), files.read_mask("a.png"))
    files.write_mask("b.png", parser.parse(files.read_image("b.jpg", upright=True)).mask)

The marked ids are the user's own; `parser.support(..., names=["skirt", "bag"])` names them in results. An id is novel,
its prototype the mean of the marked pixels, unless it is mapped to a class the checkpoint knows ("1=hat"): then it is
compared with a mixture of that class's stored prototype and the marked pixels (`heads.STORED_SHARE`). The support
person's unmarked pixels are one more class, which competes for the query's pixels and is background in the result.
"""

from oshp_lite.predict.exports import read_photo
from oshp_lite.predict.network import load_network, training_free
from oshp_lite.predict.parser import ParseOptions, Parser, PhotoParsing
