"""Scenes and fingerprints that must never change: recorded runs rest on them."""

from __future__ import annotations

PINNED = {
    ("synth-atr", 0, 0): "950065482b4882652a412cdde90e76ab536e46445c7429528cd196c9c18cc4a1",
    ("synth-atr", 0, 7): "6619bca45679ff2d06cef4442b7b726b031781f868e67064ae5d232f25d62d7e",
    ("synth-atr", 0, 1000000): "7e8ae4a7e266e3e9520e87442e98449fc1c50ad86fd1fe030f3aaf1a96e1670f",
    ("synth-atr", 1, 0): "602206cf20e9d7dd15f245268c2b80b871bcd97d209d20c8116b638d8bcabc67",
    ("synth-atr", 1, 7): "aebde7aaa40b76233c22a48823acca9f7689a3384dbb4cd5fd73f562a03bbc60",
    ("synth-atr", 1, 1000000): "459c7258c2151efce5b007b1fa58a2dabd6ae620e79d5ab2b9a2cc09a7309263",
    ("synth-lip", 0, 0): "23598fc6987476bfe64b45fee73a9ab8c88932058422bfab64598d6ae1f46279",
    ("synth-lip", 0, 7): "37b38de13c51e19e07a9e2df75f6744841a8c366e62696dc42165ab28c01998f",
    ("synth-lip", 0, 1000000): "c3d50c90506ba53c242c85e2d32da27a9ba1b361db9f737ae82efe3d68e1ea0a",
    ("synth-lip", 1, 0): "ae4ecfe6f3f2848c3d6fed4c7e5d1231b4a783420dd8e3f527a9788a324ba2ef",
    ("synth-lip", 1, 7): "3743b63fb26ad6a932fbe3e046fa15ce88eb2131ab4972dc2985f6a0886d7629",
    ("synth-lip", 1, 1000000): "9d51653653c9a6047ce2555a25a56e55c6f7277c5ea592889eff65ffd5b11188",
    ("synth-cihp", 0, 0): "abffb56b817e450b8ffebf1346ea82850f089065f6556253db158c42ed6ccb2b",
    ("synth-cihp", 0, 7): "068ad40e539ecccdd70c8a6cee7ad61522e0010ba4c5d476102bbb07f12dedee",
    ("synth-cihp", 0, 1000000): "188649beb7df0891d1a0ffd9bfb538debf3c4f29f3efd475549b54e1e917c600",
    ("synth-cihp", 1, 0): "195e58adb17603dc748387b1479cc137e09962f903dc7d6be06cd8e602ec7a3b",
    ("synth-cihp", 1, 7): "0d0c90ba48c5decd9935defe9300df1584b16d086877271879bdb7b3299b94d0",
    ("synth-cihp", 1, 1000000): "8db73d94ee8040219850ed969bf67ea70c861f5c4258bdcf4c05fb843e7484a3",
}
"""(dataset, seed, index) -> SHA-256 of image and mask of the scene at 64 pixels, as drawn when they were figures-*."""

FINGERPRINTS = {
    ("synth-atr", 1200, 300, 128, 0): "8ca410bf496a78d51c280e0abedd7174507390b9da69a5bb5e7edee4974a3d2c",
    ("synth-atr", 60, 24, 64, 0): "c460219107653f3a02f2b1584b50e40c032b0535d2c67078c044efef0b9fef1c",
    ("synth-atr", 40, 24, 64, 0): "1ce89740de05b6f12966d8edd14a2fdb335c7d71d738eb6405c6c0e5ee8de6d0",
    ("synth-lip", 1200, 300, 128, 0): "f32268d59fa1e51c8febeb603f3cefcd20f4810803751840ddbdb2acd1dff00d",
    ("synth-lip", 60, 24, 64, 0): "a5fe87e3678658ab15cdc98c52f2115f16f7827fd48a194afa54a17d76c7e398",
    ("synth-lip", 40, 24, 64, 0): "28c06fcd2dc15a4d323f139779832bbd814e6d405592a5376f287374b0cb76e7",
    ("synth-cihp", 1200, 300, 128, 0): "cf739d30e23bd3831025231e676b2dd12e0851a3f016aae7eddab98f88c2d869",
    ("synth-cihp", 60, 24, 64, 0): "66634dd90c3fe554962c8a5bcc2371e426340376615f8119985255b8ed179089",
    ("synth-cihp", 40, 24, 64, 0): "ada8d6300777c20b327e72a87b7a934ed1e0d365f5ebc609d793695e91b1ab08",
}
"""(dataset, training scenes, test scenes, size, seed) -> data fingerprint, as before the renaming."""
