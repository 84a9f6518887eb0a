package chunk_test

import (
	"bytes"
	"sync"
	"testing"

	"github.com/causeway-iot/causeway/internal/wire/chunk"
)

// TestChunk: a buffer is empty, has one owner, and is not kept when it is large.
func TestChunk(t *testing.T) {
	chunk.Put(nil)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 1000 {
				b := chunk.Get()
				if len(b) != 0 || cap(b) == 0 || cap(b) > chunk.Max {
					t.Errorf("length %d, capacity %d", len(b), cap(b))
				}
				want := bytes.Repeat([]byte{byte(i)}, n*100)
				if b = append(b, want...); !bytes.Equal(b, want) {
					t.Error("somebody else writes to it")
				}
				chunk.Put(b)
			}
		})
	}
	wg.Wait()
}
