package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// newCmdDPSRegistration returns the commands about what became of devices.
func newCmdDPSRegistration(st *state.State, l *dpsLogin) *cobra.Command {
	cmd := family("registration", "See what became of devices that registered")
	cmd.AddCommand(newCmdRegistrationList(st, l), newCmdRegistrationShow(st, l), newCmdRegistrationDelete(st, l))
	return cmd
}

func newCmdRegistrationList(st *state.State, l *dpsLogin) *cobra.Command {
	var group string
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the devices that have registered", Args: noArgs,
		Long: "Lists the devices that have registered: by a group, or by any group and by enrollments of their own.",
	}
	out := addOutput(cmd, st)
	cmd.Flags().StringVar(&group, "group-id", "", "only the devices of this `group`")
	_ = cmd.RegisterFlagCompletionFunc("group-id", l.completeEnrollments(client.EnrollmentGroup))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return l.withEnrollments(cmd.Context(), func(ctx context.Context, c *client.Enrollments) error {
			list, err := registrations(ctx, c, group)
			if err != nil {
				return err
			}
			return out.print(list, func(t *table) {
				t.row("REGISTRATION", "GROUP", "STATUS", "HUB", "DEVICE", "HOW", "UPDATED")
				for _, r := range list {
					how := r.Substatus
					if r.ErrorMessage != "" {
						how = r.ErrorMessage
					}
					if r.ErrorCode != 0 {
						how = fmt.Sprintf("%d %s", r.ErrorCode, r.ErrorMessage)
					}
					t.row(r.RegistrationID, r.Group, r.Status, r.Hub, r.DeviceID, how, r.Updated.Time)
				}
			})
		})
	}
	return cmd
}

// registrations returns the registrations of a group; of all groups and of single
// devices when it names none.
func registrations(ctx context.Context, c *client.Enrollments, group string) ([]client.RegistrationState, error) {
	list, groups := []client.RegistrationState{}, []string{group}
	if group == "" {
		groups = nil
		for e, err := range c.All(ctx, client.EnrollmentGroup) {
			if err != nil {
				return nil, err
			}
			groups = append(groups, e.GroupID)
		}
		for e, err := range c.All(ctx, client.IndividualEnrollment) {
			if err != nil {
				return nil, err
			}
			// A device of a group may get an enrollment of its own later on.
			if s := e.State; s != nil && s.Status != "unassigned" && s.Group == "" {
				list = append(list, *s)
			}
		}
	}
	for _, g := range groups {
		for r, err := range c.Registrations(ctx, g) {
			if err != nil {
				return nil, err
			}
			list = append(list, r)
		}
	}
	return list, nil
}

func newCmdRegistrationShow(st *state.State, l *dpsLogin) *cobra.Command {
	cmd := &cobra.Command{Use: "show REGISTRATION", Aliases: []string{"get"}, Short: "Show what became of a device", Args: exactArgs("REGISTRATION")}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withEnrollments(cmd.Context(), func(ctx context.Context, c *client.Enrollments) error {
			r, err := c.Registration(ctx, args[0])
			if err != nil {
				return err
			}
			return out.print(r, func(t *table) {
				t.row("registration", r.RegistrationID)
				t.row("group", r.Group)
				t.row("status", strings.TrimSpace(r.Status+" "+r.Substatus))
				t.row("hub", r.Hub)
				t.row("device", r.DeviceID)
				switch {
				case r.ErrorCode != 0:
					t.row("error", fmt.Sprintf("%d %s", r.ErrorCode, r.ErrorMessage))
				case r.ErrorMessage != "":
					t.row("why", r.ErrorMessage)
				}
				if len(r.Payload) > 0 {
					t.row("payload", r.Payload)
				}
				t.row("created", r.Created.Time)
				t.row("updated", r.Updated.Time)
				t.row("etag", strings.Trim(r.ETag, `"`))
			})
		})
	}
	return cmd
}

func newCmdRegistrationDelete(st *state.State, l *dpsLogin) *cobra.Command {
	var match string
	cmd := &cobra.Command{
		Use: "delete REGISTRATION", Aliases: []string{"rm"}, Short: "Forget a registration: the device begins anew", Args: exactArgs("REGISTRATION"),
		Long: "Forgets a registration: the device begins anew when it registers again. Its identity on the hub stays.",
	}
	addMatch(cmd, &match)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.withEnrollments(cmd.Context(), func(ctx context.Context, c *client.Enrollments) error {
			if err := c.DeleteRegistration(ctx, args[0], match); err != nil {
				return err
			}
			_, err := fmt.Fprintf(st.Stderr, "deleted registration %s\n", args[0])
			return err
		})
	}
	return cmd
}
