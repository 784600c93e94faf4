"""Endings of audio and video files that genser finds in folders; a file with another ending can be named itself."""

LOSSLESS_ENDINGS = frozenset(
    {".wav", ".wave", ".bwf", ".flac", ".aif", ".aiff", ".aifc", ".au", ".snd", ".w64", ".rf64", ".caf"}
    | {".sph", ".voc", ".wv", ".tta", ".ape", ".tak", ".dsf", ".dff"}
)
LOSSY_ENDINGS = frozenset(
    {".ogg", ".oga", ".opus", ".spx", ".mp3", ".mp2", ".mpga", ".m4a", ".m4b", ".m4r", ".mka", ".weba"}
    | {".aac", ".adts", ".ac3", ".dts", ".wma", ".asf", ".amr", ".awb", ".3ga", ".qcp", ".dss", ".ds2"}
    | {".ra", ".mpc"}
)
VIDEO_ENDINGS = frozenset(
    {".mp4", ".m4v", ".mkv", ".mov", ".qt", ".avi", ".webm", ".3gp", ".3gpp", ".3g2", ".flv", ".f4v"}
    | {".ogv", ".wmv", ".mpg", ".mpeg", ".vob", ".ts", ".m2ts", ".mts", ".mxf", ".rm"}
)
AUDIO_ENDINGS = LOSSLESS_ENDINGS | LOSSY_ENDINGS | VIDEO_ENDINGS
