package cloud

import (
	"github.com/causeway-iot/causeway/internal/cloud/job"
)

// newJobs returns the service of scheduled jobs. It works on the hubs that run,
// when it is run itself.
func (c *Cloud) newJobs() *job.Service {
	return job.New(job.Options{
		Store: c.db.Jobs(), Selector: job.Conditions{Twins: c.queries}, Registry: c.registry,
		Hubs: func(name string) (job.Hub, bool) {
			h, ok := c.set.ByName(name)
			return h, ok
		},
		Publisher: c.set, Policy: c.jobPolicy, Log: c.log,
	})
}

func (c *Cloud) jobPolicy(hub string) job.Policy {
	h, ok := c.directory.Get(hub)
	if !ok {
		return job.Policy{}
	}
	return job.Policy{Active: h.Settings.JobsActive, Rate: float64(h.Settings.JobDevicesPerSecond)}
}
