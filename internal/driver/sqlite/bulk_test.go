package sqlite_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/bulk"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/driver/sqlite"
)

// unsealed keeps keys as they are.
type unsealed struct{}

func (unsealed) Seal(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }
func (unsealed) Open(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }

// TestBulkSharesCommits: a full bulk request costs a few commits, not one for
// each of its items.
func TestBulkSharesCommits(t *testing.T) {
	var commits, changes atomic.Int64
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "causeway.db"), sqlite.Options{
		Observe: func(n int, _ time.Duration, _ error) { commits.Add(1); changes.Add(int64(n)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s := &bulk.Service{Registry: registry.New(registry.Options{Store: db.Registry(), Sealer: unsealed{}})}
	total := int64(0)
	modes := []string{"create", "update", "updateTwin", "delete"}
	for _, mode := range modes {
		items := make([]bulk.Item, bulk.MaxItems)
		for i := range items {
			items[i] = bulk.Parse(fmt.Appendf(nil, `{"id":"d%03d","importMode":%q,"tags":{"a":1}}`, i, mode))
		}
		commits.Store(0)
		changes.Store(0)
		failed, err := s.Apply(context.Background(), "hub", items)
		if err != nil || len(failed) != 0 {
			t.Fatalf("%s: %d failures, %v", mode, len(failed), err)
		}
		t.Logf("%s: %d commits of %d changes", mode, commits.Load(), changes.Load())
		total += commits.Load()
	}
	// How many changes meet in a commit depends on who gets to run.
	if most := int64(len(modes) * bulk.MaxItems / 2); total > most {
		t.Errorf("%d commits for %d items, at most %d are right", total, len(modes)*bulk.MaxItems, most)
	}
}
