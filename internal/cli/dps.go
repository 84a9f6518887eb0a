package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

const dpsLong = `Commands about provisioning: devices that know nothing but an id scope and how to
prove who they are find their hub by it.

Those that manage enrollments and registrations talk to the service as back ends
do: with --login or CAUSEWAY_DPS_CONNECTION_STRING, or as the owner of the cloud in
--data. Those that manage the service itself need the cloud's data directory.`

// NewCmdDPS returns the commands about device provisioning.
func NewCmdDPS(st *state.State) *cobra.Command {
	cmd := family("dps", "Provision devices: services, enrollments, registrations")
	cmd.Long = dpsLong
	l := addDPSLogin(cmd, st)
	cmd.AddCommand(
		newCmdDPSCreate(st, l), newCmdDPSList(st, l), newCmdDPSShow(st, l), newCmdDPSUpdate(st, l), newCmdDPSDelete(st, l),
		newCmdDPSConnectionString(st, l), newCmdDPSHub(st, l), newCmdDPSPolicy(st, l),
		newCmdDPSEnrollment(st, l, individualWords), newCmdDPSEnrollment(st, l, groupWords), newCmdDPSRegistration(st, l), newCmdComputeKey(st, l, ""), newCmdDPSRegister(st, l),
		newCmdDPSSimulate(st, l.login), newCmdDPSThrottle(st, l),
		newCmdDPSRegion(st, l), newCmdDPSAudit(st, l),
		newCmdDPSCert(st, l), newCmdDPSCredential(st, l),
	)
	return cmd
}

func serviceTable(t *table, s client.ProvisioningService) {
	t.row("service", s.Name)
	t.row("id scope", s.IDScope)
	t.row("hosts", strings.Join(s.Hosts, ", "))
	t.row("allocation", s.AllocationPolicy)
	for _, h := range s.Hubs {
		t.row("hub", linkText(h))
	}
	for _, p := range s.Policies {
		t.row("policy", fmt.Sprintf("%s (%s)", p.Name, strings.Join(p.Rights, ", ")))
	}
	t.row("created", s.Created.Time)
	t.row("etag", s.ETag)
}

// linkText describes a linked hub in a few words.
func linkText(h client.LinkedHub) string {
	notes := []string{fmt.Sprintf("weight %d", h.Weight)}
	if h.Region != "" {
		notes = append(notes, "region "+h.Region)
	}
	if h.Excluded {
		notes = append(notes, "excluded")
	}
	return h.Host + " (" + strings.Join(notes, ", ") + ")"
}

func newCmdDPSList(st *state.State, l *dpsLogin) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the provisioning services of the cloud", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return l.withAdmin(cmd.Context(), func(ctx context.Context, a *client.Admin) error {
			list, err := a.ProvisioningServices(ctx)
			if err != nil {
				return err
			}
			if list == nil {
				list = []client.ProvisioningService{}
			}
			return out.print(list, func(t *table) {
				t.row("SERVICE", "ID SCOPE", "HOSTS", "ALLOCATION", "HUBS", "CREATED")
				for _, s := range list {
					t.row(s.Name, s.IDScope, strings.Join(s.Hosts, ", "), s.AllocationPolicy, len(s.Hubs), s.Created.Time)
				}
			})
		})
	}
	return cmd
}

func newCmdDPSShow(st *state.State, l *dpsLogin) *cobra.Command {
	cmd := &cobra.Command{
		Use: "show [SERVICE]", Aliases: []string{"get"}, Short: "Show a provisioning service: id scope, hosts, hubs, policies",
		Args: maybeService, ValidArgsFunction: l.completeServices,
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withOwn(cmd.Context(), args, func(ctx context.Context, a *client.Admin, name string) error {
			s, err := a.ProvisioningService(ctx, name)
			if err != nil {
				return err
			}
			return out.print(s, func(t *table) { serviceTable(t, s) })
		})
	}
	return cmd
}

func maybeService(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return &usageError{err: fmt.Errorf("unexpected argument %q", args[1]), cmd: cmd.CommandPath()}
	}
	return nil
}
