"""Floor 3: the methods EOP-Net is compared with; importing it registers them all. A new one is a file and a line."""

from oshp_lite.models.baselines import amp, finetune, label_transfer, panet, persam, pfenet, ppnet, sgone  # noqa: F401
