package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
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
	f.StringVarP(&l.login.login, "login", "l", "", "connection `string` of the provisioning service, @FILE reads it; default "+config.EnvDPSConnectionString+", then the cloud in --data")
	f.StringVarP(&l.service, "dps-name", "n", "", "`name` of the provisioning service, when the cloud in --data has several")
	f.StringVar(&l.ca, "ca", "", "`file` with the certificate authority to trust; default "+config.EnvCA)
	f.StringVar(&l.data, "data", "", "data `directory` of a cloud on this machine; default ./causeway-data")
	f.IntVar(&l.https, "https-port", 0, "HTTPS `port`, when it is not the default")
	return l
}

// enrollments returns a client of the provisioning service that was found.
func (l *dpsLogin) enrollments(ctx context.Context) (*client.Enrollments, error) {
	local, dir, err := l.readLocal()
	if err != nil {
		return nil, err
	}
	t := &target{options: client.Options{Product: "causeway-cli", HTTPSPort: l.https}}
	text, err := l.given(config.EnvDPSConnectionString)
	if err != nil {
		return nil, err
	}
	switch {
	case text != "" && l.service != "":
		return nil, usagef("--dps-name chooses among the services of the cloud in --data; a connection string already names its service")
	case text != "":
		if local != nil && local.Provisions(text) {
			t.local = local
		}
	case local == nil:
		return nil, usagef("no provisioning service found: start one with 'causeway quickstart', or pass --login CONNECTION_STRING (looked at --login, %s and %s)",
			config.EnvDPSConnectionString, l.relative(dir))
	default:
		t.local = local
		if text, err = l.ownConnection(ctx); err != nil {
			return nil, err
		}
	}
	if t.local != nil {
		// The names of its services need not lead here yet.
		t.options.Address = local.Address
		t.options.HTTPSPort = cmp.Or(t.options.HTTPSPort, local.HTTPSPort)
	}
	if err := l.trust(t); err != nil {
		return nil, err
	}
	c, err := client.NewEnrollments(text, t.options)
	if err != nil {
		return nil, &usageError{err: err}
	}
	return c, nil
}

// ownConnection returns the connection string of a policy with all rights of the
// service in --data, which is asked for it: its keys may have been replaced since
// it was started.
func (l *dpsLogin) ownConnection(ctx context.Context) (text string, err error) {
	err = l.withOwn(ctx, nil, func(ctx context.Context, a *client.Admin, name string) error {
		s, err := a.ProvisioningService(ctx, name)
		if err != nil {
			return err
		}
		for _, p := range s.Policies {
			if slices.Contains(p.Rights, "EnrollmentWrite") && slices.Contains(p.Rights, "RegistrationStatusWrite") {
				p, err := a.ProvisioningKeys(ctx, name, p.Name)
				text = p.ConnectionString
				return err
			}
		}
		return fmt.Errorf("no policy of the provisioning service %s has the rights EnrollmentWrite and RegistrationStatusWrite: make one with 'causeway dps policy create'", name)
	})
	return text, err
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
