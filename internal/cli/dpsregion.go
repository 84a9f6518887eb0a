package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// newCmdDPSRegion returns the commands about what the allocation by latency knows.
func newCmdDPSRegion(st *state.State, l *dpsLogin) *cobra.Command {
	cmd := family("region", "Say where devices are, and how far regions are apart", newCmdDPSRegionShow(st, l), newCmdDPSRegionSet(st, l))
	cmd.Long = `The allocation policy geoLatency gives a device the linked hub that is nearest to the
region it comes from: regions of devices are known by their addresses, those of hubs
by 'causeway dps hub update HUB --region NAME'. Of what nothing is known, all hubs are
as near as each other.`
	return cmd
}

func regionTable(t *table, r client.ProvisioningRegions) {
	t.row("WHAT", "REGION", "TO", "MILLISECONDS")
	for _, n := range r.Networks {
		t.row(n.Network, n.Region, "", "")
	}
	for _, l := range r.Latencies {
		t.row("latency", l.From, l.To, l.Millis)
	}
}

func newCmdDPSRegionShow(st *state.State, l *dpsLogin) *cobra.Command {
	cmd := &cobra.Command{Use: "show", Aliases: []string{"list", "get"}, Short: "Show networks and latencies", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			r, err := a.ProvisioningRegions(ctx, name)
			if err != nil {
				return err
			}
			return out.print(r, func(t *table) { regionTable(t, r) })
		})
	}
	return cmd
}

func newCmdDPSRegionSet(st *state.State, l *dpsLogin) *cobra.Command {
	var networks, latencies []string
	var file string
	cmd := &cobra.Command{
		Use: "set", Short: "Replace networks and latencies", Args: noArgs,
		Example: `  causeway dps region set --network 10.1.0.0/16=eu --network 10.2.0.0/16=us --latency eu:us=80
  causeway dps region show -o json > regions.json; causeway dps region set --file regions.json`,
	}
	out := addOutput(cmd, st)
	f := cmd.Flags()
	f.StringArrayVar(&networks, "network", nil, "`CIDR=REGION`, may be repeated")
	f.StringArrayVar(&latencies, "latency", nil, "`FROM:TO=MILLISECONDS`, may be repeated; it holds in both directions")
	f.StringVar(&file, "file", "", "JSON `file` as show prints it")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := regionsOf(st, file, networks, latencies)
		if err != nil {
			return err
		}
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			r, err := a.SetProvisioningRegions(ctx, name, r)
			if err != nil {
				return err
			}
			return out.print(r, func(t *table) { regionTable(t, r) })
		})
	}
	return cmd
}

// regionsOf reads regions from a file, and from flags after it.
func regionsOf(st *state.State, file string, networks, latencies []string) (r client.ProvisioningRegions, err error) {
	if file != "" {
		b, err := st.ReadFile(file)
		if err != nil {
			return r, fmt.Errorf("--file: %w", err)
		}
		if err := json.Unmarshal(b, &r); err != nil {
			return r, usagef("--file %s: %v", file, err)
		}
	}
	for _, text := range networks {
		network, region, ok := strings.Cut(text, "=")
		if !ok {
			return r, usagef("--network %q is not CIDR=REGION", text)
		}
		r.Networks = append(r.Networks, client.RegionNetwork{Network: network, Region: region})
	}
	for _, text := range latencies {
		pair, number, _ := strings.Cut(text, "=")
		from, to, ok := strings.Cut(pair, ":")
		n, err := strconv.Atoi(number)
		if err != nil || !ok {
			return r, usagef("--latency %q is not FROM:TO=MILLISECONDS", text)
		}
		r.Latencies = append(r.Latencies, client.RegionLatency{From: from, To: to, Millis: n})
	}
	return r, nil
}
