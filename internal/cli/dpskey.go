package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// newCmdComputeKey returns the command that derives the key of a device from that
// of its group. It is there twice: below the groups, where the group is an
// argument, and by itself, where it is a flag.
func newCmdComputeKey(st *state.State, l *dpsLogin, groupArg string) *cobra.Command {
	var group, key, id string
	var secondary bool
	cmd := &cobra.Command{
		Use: "compute-key REGISTRATION", Aliases: []string{"compute-device-key"}, Short: "Print the key that a device of a group proves itself with",
		Args: exactArgs("REGISTRATION"),
		Long: `Derives the key of a device from the key of its group, and prints it: a device in the
field needs this one, never the group's. With --symmetric-key nothing is asked of
the service; else the group's key comes from there, and when it has one group with
keys, --group-id can be left out.`,
		Example: `  causeway dps compute-key press-7 --group-id presses
  causeway dps compute-key press-7 --symmetric-key @group.key`,
	}
	if groupArg != "" {
		cmd.Use, cmd.Args = "compute-key GROUP --registration-id ID", exactArgs(groupArg)
		cmd.ValidArgsFunction = l.completeEnrollments(client.EnrollmentGroup)
		cmd.Long = "Derives the key of a device from the key of its group, and prints it: a device in the\nfield needs this one, never the group's."
		cmd.Example = "  causeway dps group compute-key presses --registration-id press-7"
		cmd.Flags().StringVar(&id, "registration-id", "", "`id` of the device")
	} else {
		cmd.Flags().StringVar(&group, "group-id", "", "`group` of the device")
		_ = cmd.RegisterFlagCompletionFunc("group-id", l.completeEnrollments(client.EnrollmentGroup))
		cmd.Flags().StringVar(&key, "symmetric-key", "", "`key` of the group, base64; @FILE reads it from a file")
	}
	cmd.Flags().BoolVar(&secondary, "secondary", false, "derive from the secondary key of the group")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if groupArg == "" {
			id = args[0]
		} else if group = args[0]; id == "" {
			return usagef("--registration-id is missing")
		}
		if key != "" && (group != "" || secondary) {
			return usagef("--symmetric-key is the key itself: leave out --group-id and --secondary")
		}
		text, err := textFlag(st, "--symmetric-key", key)
		if err != nil {
			return err
		}
		if key == "" {
			err = l.withEnrollments(cmd.Context(), func(ctx context.Context, c *client.Enrollments) error {
				k, err := groupKey(ctx, c, group, secondary)
				text = []byte(k)
				return err
			})
			if err != nil {
				return err
			}
		}
		derived, err := client.DeriveDeviceKey(causeway.Secret(strings.TrimSpace(string(text))), id)
		if err != nil {
			return usagef("%v", err)
		}
		_, err = fmt.Fprintln(st.Stdout, string(derived))
		return err
	}
	return cmd
}

// groupKey returns a key of a group, or of the only one there is with keys.
func groupKey(ctx context.Context, c *client.Enrollments, group string, secondary bool) (string, error) {
	if group == "" {
		var names []string
		for e, err := range c.All(ctx, client.EnrollmentGroup) {
			if err != nil {
				return "", err
			}
			if e.Attestation.Type == "symmetricKey" {
				names = append(names, e.GroupID)
			}
		}
		switch len(names) {
		case 0:
			return "", fmt.Errorf("the service has no group with symmetric keys: make one with 'causeway dps group create GROUP'")
		case 1:
			group = names[0]
		default:
			return "", usagef("there are several groups, say which with --group-id: %s", strings.Join(names, ", "))
		}
	}
	k, err := keysOfEnrollment(ctx, c, client.EnrollmentGroup, group)
	if err != nil {
		return "", err
	}
	if secondary {
		return k.SecondaryKey, nil
	}
	return k.PrimaryKey, nil
}
