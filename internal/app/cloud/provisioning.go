package cloud

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/cloud/dps/localhub"
	"github.com/causeway-iot/causeway/internal/cloud/dps/remotehub"
	"github.com/causeway-iot/causeway/internal/cloud/dps/webhook"
	"github.com/causeway-iot/causeway/internal/core/secret"
	dpshead "github.com/causeway-iot/causeway/internal/head/dps"
	"github.com/causeway-iot/causeway/internal/head/est"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/plugin"
)

// openProvisioning opens the provisioning services, and makes those that should
// be there. Hubs are open.
func (c *Cloud) openProvisioning(ctx context.Context, keyring secret.Sealer) (err error) {
	c.webhooks = webhook.New(plugin.Dialer{PublicOnly: !c.cfg.Endpoints.Private})
	roots, err := linkedHubRoots(c.cfg.LinkedHubsCA)
	if err != nil {
		return err
	}
	c.remoteHubs = remotehub.New(client.Options{RootCAs: roots, Product: "causeway-dps", Log: c.log})
	c.provisioning, err = dps.New(ctx, dps.Options{
		Store: c.db.Provisioning(), Sealer: keyring, Caller: c.webhooks, Metrics: c.reg, Log: c.log,
		Targets: linkedHubs{
			local: localhub.Hubs{Registry: c.registry, Name: func(host string) (string, bool) {
				h, ok := c.directory.ByHost(host)
				return h.Name, ok
			}},
			remote: c.remoteHubs,
		},
	})
	if err != nil {
		return err
	}
	c.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "causeway_dps_services_damaged", Help: "Provisioning services that are not served because what is stored of them cannot be read.",
	}, func() float64 { return float64(len(c.provisioning.Damaged())) }))
	// What a crash left between the deletion of a hub and that of its links.
	if err := c.unlinkHubs(ctx); err != nil {
		return err
	}
	if err := c.reg.Register(dps.Expiry{Service: c.provisioning}); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	damaged := c.provisioning.Damaged()
	for _, p := range c.cfg.Provisioning {
		if slices.Contains(damaged, strings.ToLower(p.Name)) {
			continue // the log says so; what it holds is kept
		}
		if err := c.makeProvisioning(ctx, p); err != nil {
			return fmt.Errorf("provisioning service %s: %w", p.Name, err)
		}
	}
	var hosts []string
	for _, i := range c.provisioning.Instances() {
		hosts = append(hosts, i.Hosts...)
	}
	return c.certs.cover(hosts)
}

// linkedHubs finds the hubs of this cloud, and by a connection string those
// elsewhere.
type linkedHubs struct {
	local  localhub.Hubs
	remote *remotehub.Hubs
}

// Target implements [dps.Targets].
func (h linkedHubs) Target(l dps.Link) (dps.Target, error) {
	if l.ConnectionString == "" {
		return h.local.Target(l)
	}
	return h.remote.Target(l)
}

// linkedHubRoots returns the authorities to trust with hubs elsewhere: nil for
// those of the system.
func linkedHubRoots(file string) (*x509.CertPool, error) {
	const most = 1 << 20
	if file == "" {
		return nil, nil
	}
	pem, err := state.ReadFile(file, most)
	if err != nil {
		return nil, fmt.Errorf("linkedHubsCA: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("linkedHubsCA: %s has no certificate in PEM form", file)
	}
	return pool, nil
}

// makeProvisioning makes a service that is not there yet, and links its hubs.
func (c *Cloud) makeProvisioning(ctx context.Context, p config.Provisioning) error {
	i, ok := c.provisioning.Instance(p.Name)
	if !ok {
		var err error
		if i, err = c.provisioning.Create(ctx, p.Name, p.Hosts); err != nil {
			return err
		}
		if p.Throttle != "" {
			if i, err = c.provisioning.Change(ctx, p.Name, func(i *dps.Instance) error {
				i.Throttle.Preset = p.Throttle
				return nil
			}); err != nil {
				return err
			}
		}
	}
	links, err := c.links(p.Hubs)
	if err != nil {
		return err
	}
	missing := false
	for _, l := range links {
		if _, ok := i.Link(l.Host); !ok {
			missing = true
		}
	}
	if !missing {
		return nil
	}
	_, err = c.provisioning.Change(ctx, p.Name, func(i *dps.Instance) error {
		for _, l := range links {
			if _, ok := i.Link(l.Host); !ok {
				i.Links = append(i.Links, l)
			}
		}
		return nil
	})
	return err
}

// unlinkHubs removes the links to hubs of this cloud that are no more.
func (c *Cloud) unlinkHubs(ctx context.Context) error {
	if len(c.directory.Damaged()) > 0 {
		return nil // nobody knows which hosts are theirs
	}
	n, err := c.provisioning.Unlink(ctx, func(l dps.Link) bool {
		_, there := c.directory.ByHost(l.Host)
		return l.ConnectionString == "" && !there
	})
	if n > 0 {
		c.log.Info("hubs that are no more are not linked for provisioning any more", "links", n)
	}
	return err
}

// managedProvisioning is the provisioning services as the administration sees
// them: their host names are in the server's certificate.
type managedProvisioning struct {
	*dps.Service
	certs *certificates
	log   *slog.Logger
}

// Create makes a service.
func (m managedProvisioning) Create(ctx context.Context, name string, hosts []string) (dps.Instance, error) {
	i, err := m.Service.Create(ctx, name, hosts)
	m.cover(&i, err)
	return i, err
}

// Change changes a service.
func (m managedProvisioning) Change(ctx context.Context, name string, change func(*dps.Instance) error) (dps.Instance, error) {
	i, err := m.Service.Change(ctx, name, change)
	m.cover(&i, err)
	return i, err
}

// cover follows a change that was made.
func (m managedProvisioning) cover(i *dps.Instance, err error) {
	if err != nil {
		return
	}
	if err := m.certs.cover(i.Hosts); err != nil {
		m.log.Error("the server certificate does not have the hosts of a provisioning service", "service", i.Name, obs.KeyError, err)
	}
}

// links returns links to hubs of this cloud, to all when none is named.
func (c *Cloud) links(names []string) (links []dps.Link, err error) {
	var hubs []directory.Hub
	for _, n := range names {
		h, ok := c.directory.Get(n)
		if !ok && slices.Contains(c.directory.Damaged(), n) {
			continue // a link that is there stays
		}
		if !ok {
			return nil, fmt.Errorf("there is no hub %q", n)
		}
		hubs = append(hubs, h)
	}
	if len(names) == 0 {
		hubs = c.directory.List()
	}
	for _, h := range hubs {
		links = append(links, dps.Link{Host: h.Hosts[0]})
	}
	return links, nil
}

// enrollGroup makes the group that a first look begins with.
func (c *Cloud) enrollGroup(ctx context.Context, group string) error {
	all := c.provisioning.Instances()
	if len(all) == 0 {
		return nil
	}
	_, err := c.provisioning.Enrollment(ctx, all[0].Name, true, group)
	if causeway.CodeOf(err) != dps.CodeEnrollmentNotFound {
		return err
	}
	_, err = c.provisioning.PutEnrollment(ctx, all[0].Name, dps.Enrollment{
		ID: group, Group: true, Attestation: dps.Attestation{Kind: dps.SymmetricKey}, Reprovision: dps.Reprovision{Migrate: true},
	}, "")
	return err
}

// describeProvisioning says how the first provisioning service is reached.
func (c *Cloud) describeProvisioning(ctx context.Context, conn *Connection) error {
	all := c.provisioning.Instances()
	if len(all) == 0 {
		return nil
	}
	i := all[0]
	conn.DPSGlobalEndpoint, conn.DPSIDScope = i.Hosts[0], i.IDScope
	conn.DPSServiceConnectionString, _ = i.ConnectionString(dps.OwnerPolicy)
	if c.o.Group == "" {
		return nil
	}
	g, err := c.provisioning.Enrollment(ctx, i.Name, true, c.o.Group)
	switch {
	case causeway.CodeOf(err) == dps.CodeEnrollmentNotFound: // deleted since: that is the user's right
		return nil
	case err != nil:
		return fmt.Errorf("read enrollment group %s: %w", c.o.Group, err)
	}
	conn.DPSGroupKey = string(g.Attestation.Keys.Primary)
	return nil
}

// provisioningHead answers what is of the provisioning service, registrations and
// the renewal of certificates, and hands all else on.
func (c *Cloud) provisioningHead(next http.Handler) http.Handler {
	renewals := (&est.Server{Service: c.provisioning, Log: c.log, Metrics: obs.NewHead(c.reg, "est")}).Handler()
	registrations := (&dpshead.Server{Service: c.provisioning, Log: c.log, Metrics: obs.NewHead(c.reg, "dps"), Fallback: next}).Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, est.Prefix) {
			renewals.ServeHTTP(w, r)
			return
		}
		registrations.ServeHTTP(w, r)
	})
}
