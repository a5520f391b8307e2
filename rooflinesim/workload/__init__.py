"""COUNT: what one forward pass must do, exactly; no device and no efficiency enters here."""
