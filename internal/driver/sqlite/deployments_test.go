package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/deploy/deploytest"
	"github.com/causeway-iot/causeway/internal/cloud/directory/directorytest"
)

func TestDeploymentContract(t *testing.T) {
	deploytest.Run(t, func(t *testing.T) deploytest.Fixture {
		db := openWithHubs(t, filepath.Join(t.TempDir(), "state.db"))
		return deploytest.Fixture{
			Store: db.Deployments(),
			Register: func(ids ...causeway.Identity) {
				for _, id := range ids {
					if err := db.Registry().Create(t.Context(), record(id)); err != nil {
						t.Fatal(err)
					}
				}
			},
			Delete: func(id causeway.Identity) {
				if err := db.Registry().Delete(t.Context(), id, "*"); err != nil {
					t.Fatal(err)
				}
			},
			DeleteHub: func(hub string) {
				if err := db.Directory().DeleteHub(t.Context(), hub); err != nil {
					t.Fatal(err)
				}
				if err := db.Directory().PutHub(t.Context(), directorytest.Hub(hub)); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}
