package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// dpsLogin is how a command finds the provisioning service it talks to, in this
// order: --login, CAUSEWAY_DPS_CONNECTION_STRING, and the files that a cloud on
// this machine has left in its data directory.
type dpsLogin struct {
	*login
	service string // name of the service in --data
}

func addDPSLogin(cmd *cobra.Command, st *state.State) *dpsLogin {
	l := &dpsLogin{login: &login{st: st}}
	f := cmd.PersistentFlags()
	f.StringVarP(&l.login.login, "login", "l", "", "connection `string` of the provisioning service; default "+config.EnvDPSConnectionString+", then the cloud in --data")
	f.StringVarP(&l.service, "dps-name", "n", "", "`name` of the provisioning service, when the cloud in --data has several")
	f.StringVar(&l.ca, "ca", "", "`file` with the certificate authority to trust; default "+config.EnvCA)
	f.StringVar(&l.data, "data", "", "data `directory` of a cloud on this machine; default ./causeway-data")
	f.IntVar(&l.https, "https-port", 0, "HTTPS `port`, when it is not the default")
	return l
}

// withOwn runs f with the administration of the cloud that was found and the name
// of the provisioning service that a command means.
func (l *dpsLogin) withOwn(ctx context.Context, args []string, f func(ctx context.Context, a *client.Admin, name string) error) error {
	return l.withAdmin(ctx, func(ctx context.Context, a *client.Admin) error {
		name, err := l.ownService(ctx, a, args)
		if err != nil {
			return err
		}
		return f(ctx, a, name)
	})
}

// ownService returns the service that a command means: the one it names, or the
// only one that the cloud has.
func (l *dpsLogin) ownService(ctx context.Context, a *client.Admin, args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	if l.service != "" {
		return l.service, nil
	}
	list, err := a.ProvisioningServices(ctx)
	if err != nil {
		return "", err
	}
	switch len(list) {
	case 0:
		return "", errors.New("the cloud has no provisioning service yet: make one with 'causeway dps create NAME'")
	case 1:
		return list[0].Name, nil
	}
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Name
	}
	return "", usagef("the cloud has several provisioning services, say which with --dps-name: %s", strings.Join(names, ", "))
}

// completeServices offers the names of provisioning services to the shell.
func (l *dpsLogin) completeServices(cmd *cobra.Command, args []string, prefix string) (names []string, _ cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionWait)
	defer cancel()
	// A shell has no place for errors.
	_ = l.withAdmin(ctx, func(ctx context.Context, a *client.Admin) error {
		list, err := a.ProvisioningServices(ctx)
		for _, s := range list {
			if strings.HasPrefix(s.Name, prefix) {
				names = append(names, s.Name)
			}
		}
		return err
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}
