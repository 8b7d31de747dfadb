"""Reading a pool: any table, folder or tar set of image-text pairs becomes canonical blocks of rows."""
