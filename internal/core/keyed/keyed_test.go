package keyed

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

func TestLocks(t *testing.T) {
	var l Locks[string]
	counts := map[string]*int{"a": new(int), "b": new(int)}
	const workers, rounds = 8, 200
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				key := []string{"a", "b"}[(w+i)%2]
				release := l.Lock(key)
				*counts[key]++ // the race detector tells of two at a time
				release()
			}
		})
	}
	wg.Wait()
	if *counts["a"]+*counts["b"] != workers*rounds {
		t.Errorf("counted %d and %d", *counts["a"], *counts["b"])
	}
	if len(l.held) != 0 {
		t.Errorf("%d locks are kept that nobody holds", len(l.held))
	}
}

func TestTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Locks[int]
		release := l.Lock(1)
		l.Lock(2)() // another is not concerned
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := l.Take(ctx, 1)
			done <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("waiting ended with %v", err)
		}
		if len(l.held) != 1 {
			t.Errorf("%d locks are kept, one is held", len(l.held))
		}
		// One that is free is taken, whatever ctx says.
		release()
		again, err := l.Take(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		again()
		if len(l.held) != 0 {
			t.Errorf("%d locks are kept that nobody holds", len(l.held))
		}
	})
}
