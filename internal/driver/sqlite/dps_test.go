package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/cloud/dps/dpstest"
	"github.com/causeway-iot/causeway/internal/driver/sqlite"
)

func TestProvisioningContract(t *testing.T) {
	dpstest.Run(t, func(t *testing.T, dir string) dps.Store {
		return openAt(t, filepath.Join(dir, "state.db"), sqlite.Options{}).Provisioning()
	})
}

// TestProvisioningReopen finds everything again after a restart.
func TestProvisioningReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := openAt(t, path, sqlite.Options{})
	e := dpstest.Enrollment("Dev", false)
	if err := db.Provisioning().PutInstance(t.Context(), dps.Instance{Name: "s", IDScope: "0ne1"}); err != nil {
		t.Fatal(err)
	}
	if err := db.Provisioning().PutEnrollment(t.Context(), "s", e, ""); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openAt(t, path, sqlite.Options{})
	if list, err := db.Provisioning().Instances(t.Context()); err != nil || len(list) != 1 || list[0].IDScope != "0ne1" {
		t.Errorf("services %+v, %v", list, err)
	}
	if got, err := db.Provisioning().Enrollment(t.Context(), "s", false, "dev"); err != nil || got.ID != "Dev" || got.Webhook != e.Webhook {
		t.Errorf("enrollment %+v, %v", got, err)
	}
}
