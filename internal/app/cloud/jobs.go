package cloud

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"github.com/causeway-iot/causeway/internal/cloud/job"
	"github.com/causeway-iot/causeway/internal/cloud/transfer"
	"github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/core/quota"
)

// Bounds of the requests to other people's storage.
const (
	storageDial  = 10 * time.Second
	storageIdle  = time.Minute
	storageConns = 4
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

// jobPolicy returns what a hub's settings allow, and where they do not say, what
// its quota does.
func (c *Cloud) jobPolicy(hub string) job.Policy {
	d, ok := c.directory.Get(hub)
	if !ok {
		return job.Policy{}
	}
	p := job.Policy{Active: d.Settings.JobsActive, Rate: float64(d.Settings.JobDevicesPerSecond)}
	if d.Settings.Quota == nil {
		return p
	}
	if p.Active == 0 {
		p.Active = activeJobs(d.Settings.Quota.Preset)
	}
	if h, ok := c.set.ByName(hub); ok && p.Rate == 0 {
		if limits, ok := h.Limiter().Limits(); ok {
			if r := limits.Rates[quota.JobDevices]; r.Per > 0 {
				p.Rate = r.Count / r.Per.Seconds()
			}
		}
	}
	return p
}

// activeJobs returns how many jobs an edition runs at once, 0 when it does not
// say.
func activeJobs(preset string) int {
	switch preset {
	case "free", "basic-b1", "standard-s1":
		return 1
	case "basic-b2", "standard-s2":
		return 5
	case "basic-b3", "standard-s3":
		return 10
	}
	return 0
}

// newTransfers returns the service of imports and exports.
func (c *Cloud) newTransfers(sealer transfer.Sealer) *transfer.Service {
	return transfer.New(transfer.Options{
		Store: c.db.Transfers(), Registry: c.registry, Sealer: sealer,
		Containers:     transfer.Own{Accounts: c.account, Other: transfer.HTTPS{Client: storageClient()}},
		Configurations: transfer.Deployed{Deployments: c.deployments}, Log: c.log,
	})
}

// account finds the blob storage of a hub by one of its hosts.
func (c *Cloud) account(host string) (key []byte, store blob.Store, ok bool) {
	h, ok := c.set.ByHost(host)
	if !ok {
		return nil, nil, false
	}
	s, ok := c.hubs.storage(h.Name())
	return s.Key, s.Store, ok
}

// storageClient speaks to storage elsewhere. It does not follow redirects: an
// address stands for what its owner may use.
func storageClient() *http.Client {
	dial := &net.Dialer{Timeout: storageDial}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dial.DialContext, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: storageDial, MaxConnsPerHost: storageConns, IdleConnTimeout: storageIdle, ForceAttemptHTTP2: true,
			Proxy: http.ProxyFromEnvironment,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
