"""The methods EOP-Net is compared with, one file each; `oshp_lite.models.registry` lists them."""
