package cloud

import (
	"context"
	"fmt"
	"net/http"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/cloud/dps/localhub"
	"github.com/causeway-iot/causeway/internal/cloud/dps/webhook"
	"github.com/causeway-iot/causeway/internal/core/secret"
	dpshead "github.com/causeway-iot/causeway/internal/head/dps"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/plugin"
)

// openProvisioning opens the provisioning services, and makes those that should
// be there. Hubs are open.
func (c *Cloud) openProvisioning(ctx context.Context, keyring secret.Sealer) (err error) {
	c.webhooks = webhook.New(plugin.Dialer{PublicOnly: !c.cfg.Endpoints.Private})
	c.provisioning, err = dps.New(ctx, dps.Options{
		Store: c.db.Provisioning(), Sealer: keyring, Caller: c.webhooks, Log: c.log,
		Targets: localhub.Hubs{Registry: c.registry, Name: func(host string) (string, bool) {
			h, ok := c.directory.ByHost(host)
			return h.Name, ok
		}},
	})
	if err != nil {
		return err
	}
	for _, p := range c.cfg.Provisioning {
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

// makeProvisioning makes a service that is not there yet, and links its hubs.
func (c *Cloud) makeProvisioning(ctx context.Context, p config.Provisioning) error {
	i, ok := c.provisioning.Instance(p.Name)
	if !ok {
		var err error
		if i, err = c.provisioning.Create(ctx, p.Name, p.Hosts); err != nil {
			return err
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

// links returns links to hubs of this cloud, to all when none is named.
func (c *Cloud) links(names []string) (links []dps.Link, err error) {
	var hubs []directory.Hub
	for _, n := range names {
		h, ok := c.directory.Get(n)
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

// provisioningHead answers what is of the provisioning service, and hands all else
// on.
func (c *Cloud) provisioningHead(next http.Handler) http.Handler {
	s := &dpshead.Server{Service: c.provisioning, Log: c.log, Metrics: obs.NewHead(c.reg, "dps"), Fallback: next}
	return s.Handler()
}
