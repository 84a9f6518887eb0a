package cloud

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// collectors remembers what was registered through it, so that the metrics of
// a hub can go with the hub; a hub of the same name could not be made again
// otherwise.
type collectors struct {
	reg prometheus.Registerer

	mu   sync.Mutex
	mine []prometheus.Collector
}

var _ prometheus.Registerer = (*collectors)(nil)

func (c *collectors) Register(x prometheus.Collector) error {
	if err := c.reg.Register(x); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mine = append(c.mine, x)
	return nil
}

func (c *collectors) MustRegister(xs ...prometheus.Collector) {
	for _, x := range xs {
		if err := c.Register(x); err != nil {
			panic(err) // two metrics of one name: a mistake in the program
		}
	}
}

func (c *collectors) Unregister(x prometheus.Collector) bool { return c.reg.Unregister(x) }

// release unregisters everything.
func (c *collectors) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.mine {
		c.reg.Unregister(x)
	}
	c.mine = nil
}
