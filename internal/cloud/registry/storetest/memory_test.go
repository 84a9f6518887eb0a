package storetest_test

import (
	"testing"

	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/registry/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) registry.Store { return storetest.NewMemory() })
}

func TestMemorySurvivesAClient(t *testing.T) {
	storetest.RunDurable(t, func(*testing.T) (registry.Store, func(*testing.T) registry.Store) {
		m := storetest.NewMemory()
		return m, func(*testing.T) registry.Store { return m }
	})
}
