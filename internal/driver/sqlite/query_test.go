package sqlite_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

// TestQuickBesideLong: queries that look at everything leave room for those that
// an index answers, and for reading one record, and wait for one another.
func TestQuickBesideLong(t *testing.T) {
	s := open(t).Registry()
	fill(t, s, 3)
	hold, running := make(chan struct{}), make(chan struct{}, 100)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			err := s.Query(t.Context(), registry.Selection{Hub: "plant", Long: true, Keep: func(*registry.Record) bool {
				running <- struct{}{}
				<-hold
				return false
			}}, func(*registry.Record) error { return nil })
			if err != nil {
				t.Error(err)
			}
		})
	}
	for range 2 { // as many as may have a connection, of the four there are
		<-running
	}
	cond, err := hubquery.ParseCondition("deviceId = '" + device(1).Device + "'")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range 20 {
		n := 0
		err := s.Query(ctx, registry.Selection{Hub: "plant", Long: true, Where: cond.Conjuncts()}, func(*registry.Record) error { n++; return nil })
		if err != nil || n != 1 {
			t.Fatalf("a quick one beside long ones: %d records, %v", n, err)
		}
		if _, err := s.Get(ctx, device(2)); err != nil {
			t.Fatal(err)
		}
	}
	// One that waits for its turn stops when its context ends.
	waiting, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if err := s.Query(waiting, registry.Selection{Hub: "plant", Long: true}, func(*registry.Record) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one that waits: %v", err)
	}
	close(hold)
	wg.Wait()
}
