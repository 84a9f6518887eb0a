package deploytest_test

import (
	"maps"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/deploy/deploytest"
)

func TestMemory(t *testing.T) {
	deploytest.Run(t, func(*testing.T) deploytest.Fixture {
		ids := map[causeway.Identity]bool{}
		m := deploytest.NewMemory(func(id causeway.Identity) bool { return ids[id] }, "plant", "depot")
		return deploytest.Fixture{
			Store: m,
			Register: func(more ...causeway.Identity) {
				for _, id := range more {
					ids[id] = true
				}
			},
			Delete: func(id causeway.Identity) {
				maps.DeleteFunc(ids, func(x causeway.Identity, _ bool) bool { return x == id || x.Parent() == id })
				m.Forget(id)
			},
			DeleteHub: func(hub string) {
				maps.DeleteFunc(ids, func(x causeway.Identity, _ bool) bool { return x.Hub == hub })
				m.DeleteHub(hub)
			},
		}
	})
}
