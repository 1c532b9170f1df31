"""Files, parallel work, progress bars and tables: know nothing of images."""
