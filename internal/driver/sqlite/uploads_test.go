package sqlite_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/upload"
	"github.com/causeway-iot/causeway/internal/cloud/upload/uploadtest"
	"github.com/causeway-iot/causeway/internal/driver/sqlite"
)

func TestUploadContract(t *testing.T) {
	uploadtest.Run(t, func(t *testing.T) uploadtest.Fixture {
		db := openAt(t, filepath.Join(t.TempDir(), "state.db"), sqlite.Options{})
		return uploadtest.Fixture{
			Store: db.Uploads(),
			AddDevice: func(t *testing.T, id causeway.Identity) {
				if err := db.Registry().Create(t.Context(), record(id)); err != nil {
					t.Fatal(err)
				}
			},
			RemoveDevice: func(t *testing.T, id causeway.Identity) {
				if err := db.Registry().Delete(t.Context(), id, "*"); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}

// TestUploadsReopen completes an upload that was begun before a restart.
func TestUploadsReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := openAt(t, path, sqlite.Options{})
	id := causeway.Identity{Hub: "plant", Device: "press-1"}
	if err := db.Registry().Create(t.Context(), record(id)); err != nil {
		t.Fatal(err)
	}
	k := upload.Ticket{Device: id, Correlation: "c", Host: "plant", Container: "uploads", Blob: "press-1/x", Expires: time.Now().Add(time.Hour).UTC()}
	if ok, err := db.Uploads().Add(t.Context(), k, time.Now(), 1); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openAt(t, path, sqlite.Options{})
	if got, ok, err := db.Uploads().Get(t.Context(), id, "c"); err != nil || !ok || got != k {
		t.Errorf("Get = %+v, %v, %v; want %+v", got, ok, err, k)
	}
}
