package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/core/routing"
)

// configureRouting gives a hub the routing that the configuration has for it.
func (c *Cloud) configureRouting(ctx context.Context, h config.Hub) error {
	if h.Routing == nil {
		return nil
	}
	settings, err := routingSettings(h.Routing)
	if err != nil {
		return err
	}
	_, err = c.directory.Update(ctx, h.Name, func(d *directory.Hub) error {
		d.Settings.Routing = settings
		return nil
	})
	return err
}

// routingSettings turns a section of the configuration into settings.
func routingSettings(r *config.Routing) (*routing.Settings, error) {
	s := &routing.Settings{}
	for _, e := range r.Endpoints {
		x := routing.EndpointSettings{Name: e.Name, Kind: e.Kind}
		if e.Config != nil {
			b, err := json.Marshal(e.Config)
			if err != nil {
				return nil, fmt.Errorf("config of endpoint %s: %w", e.Name, err)
			}
			x.Config = b
		}
		for name, text := range e.Secrets {
			if x.Secrets == nil {
				x.Secrets = map[string]causeway.Secret{}
			}
			if file, ok := strings.CutPrefix(text, "@"); ok {
				var err error
				if text, err = state.ReadSecret(file); err != nil {
					return nil, fmt.Errorf("secret %s of endpoint %s: %w", name, e.Name, err)
				}
			}
			x.Secrets[name] = causeway.Secret(text)
		}
		s.Endpoints = append(s.Endpoints, x)
	}
	for _, x := range r.Routes {
		route := routing.Route{
			Name: x.Name, Source: routing.Source(x.Source), Condition: x.Condition, EndpointNames: x.EndpointNames,
			IsEnabled: x.IsEnabled == nil || *x.IsEnabled,
		}
		if route.Source == "" {
			route.Source = routing.DeviceMessages
		}
		s.Routes = append(s.Routes, route)
	}
	if f := r.FallbackRoute; f != nil {
		fallback := (*routing.Settings)(nil).Fallback()
		fallback.IsEnabled = f.IsEnabled == nil || *f.IsEnabled
		if f.Condition != "" {
			fallback.Condition = f.Condition
		}
		s.FallbackRoute = &fallback
	}
	for _, e := range r.Enrichments {
		s.Enrichments = append(s.Enrichments, routing.Enrichment(e))
	}
	return s, nil
}
