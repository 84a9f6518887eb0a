package dirblob_test

import (
	"testing"

	"github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/core/blob/blobtest"
	"github.com/causeway-iot/causeway/internal/driver/dirblob"
)

func open(t *testing.T, dir string, o dirblob.Options) *dirblob.Store {
	t.Helper()
	s, err := dirblob.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestContract(t *testing.T) {
	blobtest.Run(t, func(t *testing.T, dir string) blob.Store { return open(t, dir, dirblob.Options{}) })
}
