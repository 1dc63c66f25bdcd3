"""LightFM: collaborative, content-based and hybrid factorisation."""
