package ledger

import (
	"fmt"
	"io/fs"
)

// Migrate applies the files schema/*.sql that a database of some version has not seen, in
// their order. The nth file leads to version n; a file that was released is never edited.
// apply runs one file's statements and keeps the version that they lead to; it belongs into
// the transaction in which the version was read.
func Migrate(schema fs.FS, version int, apply func(statements string, version int) error) error {
	files, err := fs.Glob(schema, "schema/*.sql")
	if err != nil {
		return err
	}
	if version > len(files) {
		return fmt.Errorf("its schema has version %d, and this gateway knows versions up to %d: run the newer gateway that wrote it", version, len(files))
	}
	for ; version < len(files); version++ {
		statements, err := fs.ReadFile(schema, files[version])
		if err != nil {
			return err
		}
		if err := apply(string(statements), version+1); err != nil {
			return fmt.Errorf("%s: %w", files[version], err)
		}
	}
	return nil
}
