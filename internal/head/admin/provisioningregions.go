package admin

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/danielgtaylor/huma/v2"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// regionsBody is what an allocation by latency knows of the world.
type regionsBody struct {
	Networks  []networkBody `json:"networks" required:"false" nullable:"false" maxItems:"1000" doc:"Where devices are, by their addresses; the smallest network that has an address counts"`
	Latencies []latencyBody `json:"latencies" required:"false" nullable:"false" maxItems:"1000" doc:"How far regions are apart, in either direction; a region is at no distance from itself"`
}

type networkBody struct {
	Network string `json:"network" maxLength:"64" doc:"Addresses" example:"10.1.0.0/16"`
	Region  string `json:"region" minLength:"1" maxLength:"64"`
}

type latencyBody struct {
	From   string `json:"from" minLength:"1" maxLength:"64" doc:"Region of devices"`
	To     string `json:"to" minLength:"1" maxLength:"64" doc:"Region of hubs"`
	Millis int    `json:"milliseconds" minimum:"0" maximum:"100000"`
}

type regionsOutput struct {
	ETag string `header:"ETag" doc:"Of the service, which this is a part of"`
	Body regionsBody
}

type setRegionsInput struct {
	ChangedPath
	Body regionsBody
}

func (s *Server) addRegions(api huma.API) {
	const path = "/provisioning/{service}/regions"
	get := operation("getProvisioningRegions", http.MethodGet, path, "provisioning", "Show what the allocation by latency knows of regions", 0)
	get.Errors = append(get.Errors, http.StatusNotFound)
	huma.Register(api, get, s.getRegions)

	set := operation("setProvisioningRegions", http.MethodPut, path, "provisioning", "Replace what the allocation by latency knows of regions", 0)
	set.Errors = append(set.Errors, http.StatusBadRequest, http.StatusNotFound, http.StatusPreconditionFailed, http.StatusUnprocessableEntity)
	huma.Register(api, set, s.setRegions)
}

func (s *Server) getRegions(ctx context.Context, in *ServicePath) (*regionsOutput, error) {
	i, err := s.service(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return newRegions(&i), nil
}

func (s *Server) setRegions(ctx context.Context, in *setRegionsInput) (*regionsOutput, error) {
	var g dps.Geo
	for _, n := range in.Body.Networks {
		p, err := netip.ParsePrefix(n.Network)
		if err != nil {
			return nil, s.problem(ctx, causeway.Errorf(dps.CodeInvalid, "admin.regions", "the network %q is none: write it as 10.1.0.0/16 or 2001:db8::/32", n.Network))
		}
		g.Networks = append(g.Networks, dps.Network{Prefix: p, Region: n.Region})
	}
	for _, l := range in.Body.Latencies {
		g.Latencies = append(g.Latencies, dps.Latency(l))
	}
	i, err := s.change(ctx, &in.ChangedPath, func(i *dps.Instance) error {
		i.Geo = g
		return nil
	})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "regions of a provisioning service changed", "service", i.Name, "networks", len(g.Networks), "latencies", len(g.Latencies))
	return newRegions(&i), nil
}

func newRegions(i *dps.Instance) *regionsOutput {
	out := &regionsOutput{ETag: `"` + serviceETag(i) + `"`, Body: regionsBody{Networks: []networkBody{}, Latencies: []latencyBody{}}}
	for _, n := range i.Geo.Networks {
		out.Body.Networks = append(out.Body.Networks, networkBody{n.Prefix.String(), n.Region})
	}
	for _, l := range i.Geo.Latencies {
		out.Body.Latencies = append(out.Body.Latencies, latencyBody(l))
	}
	return out
}
