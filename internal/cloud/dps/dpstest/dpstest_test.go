package dpstest_test

import (
	"sync"
	"testing"

	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/cloud/dps/dpstest"
)

func TestMemory(t *testing.T) {
	var stores sync.Map
	dpstest.Run(t, func(_ *testing.T, dir string) dps.Store {
		s, _ := stores.LoadOrStore(dir, dpstest.NewMemory())
		return s.(dps.Store)
	})
}
