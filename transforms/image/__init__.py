"""From fetched bytes to stored bytes: one full decode, upright, sRGB, resized, encoded, and measured on the way."""
