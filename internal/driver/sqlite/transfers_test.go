package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/causeway-iot/causeway/internal/cloud/directory/directorytest"
	"github.com/causeway-iot/causeway/internal/cloud/transfer/transfertest"
	"github.com/causeway-iot/causeway/internal/driver/sqlite"
)

func TestTransfers(t *testing.T) {
	transfertest.Run(t, func(t *testing.T) transfertest.Fixture {
		db := openAt(t, filepath.Join(t.TempDir(), "state.db"), sqlite.Options{})
		for _, name := range []string{"plant", "depot"} {
			if err := db.Directory().PutHub(t.Context(), directorytest.Hub(name)); err != nil {
				t.Fatal(err)
			}
		}
		return transfertest.Fixture{Store: db.Transfers(), DeleteHub: func(name string) {
			if err := db.Directory().DeleteHub(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}}
	})
}
