package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// addConfigurations adds the commands about configurations of devices to the
// family that also has those about the configuration file.
func addConfigurations(cmd *cobra.Command, st *state.State) {
	l := addLogin(cmd, st)
	for _, c := range []*cobra.Command{
		newCmdConfigList(st, l), newCmdConfigShow(st, l), newCmdConfigCreate(st, l), newCmdConfigUpdate(st, l),
		newCmdConfigDelete(st, l), newCmdConfigTest(st, l), newCmdConfigApply(st, l), newCmdConfigMetrics(st, l),
	} {
		c.GroupID = "devices"
		cmd.AddCommand(c)
	}
}

// completeConfigurations completes the id of a configuration.
func (l *login) completeConfigurations(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []string
	err := l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
		list, err := s.Configurations(ctx, 0)
		for _, c := range list {
			ids = append(ids, c.ID)
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

// kindOf says what a content is for.
func kindOf(c client.ConfigurationContent) string {
	switch {
	case c.Modules != nil:
		return "edge"
	case c.Module != nil:
		return "module"
	}
	return "device"
}

// result is the last figure of a system metric.
func result(c client.Configuration, name string) int {
	if c.SystemMetrics == nil {
		return 0
	}
	return c.SystemMetrics.Results[name]
}

func newCmdConfigList(st *state.State, l *login) *cobra.Command {
	var top int
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List configurations and edge deployments", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.Flags().IntVar(&top, "top", 0, "show at most so many; 0 for all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			list, err := s.Configurations(ctx, top)
			if err != nil {
				return err
			}
			return out.print(list, func(t *table) { configList(t, list) })
		})
	}
	return cmd
}

func configList(t *table, list []client.Configuration) {
	head := []any{"id", "for", "priority", "targeted", "applied", "condition"}
	broken := slices.ContainsFunc(list, func(c client.Configuration) bool { return c.Problem != "" })
	if broken {
		head = append(head, "problem")
	}
	t.row(head...)
	for _, c := range list {
		row := []any{c.ID, kindOf(c.Content), c.Priority, result(c, "targetedCount"), result(c, "appliedCount"), c.TargetCondition}
		if broken {
			row = append(row, c.Problem)
		}
		t.row(row...)
	}
}

func newCmdConfigShow(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "show ID", Aliases: []string{"get"}, Short: "Show a configuration", Args: exactArgs("ID"), ValidArgsFunction: l.completeConfigurations,
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			c, err := s.Configuration(ctx, args[0])
			if err != nil {
				return err
			}
			return out.print(c, func(t *table) { configTable(t, c) })
		})
	}
	return cmd
}

func configTable(t *table, c client.Configuration) {
	t.row("configuration", c.ID)
	t.row("for", kindOf(c.Content))
	t.row("condition", c.TargetCondition)
	t.row("priority", c.Priority)
	if c.Problem != "" {
		t.row("problem", c.Problem)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Labels)) {
		t.row("label "+name, c.Labels[name])
	}
	t.row("created", c.Created.Time)
	t.row("updated", c.Updated.Time)
	t.row("etag", c.ETag)
	for _, m := range []*client.Metrics{c.SystemMetrics, c.Metrics} {
		if m == nil {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(m.Results)) {
			t.row(name, m.Results[name])
		}
	}
	b, err := json.Marshal(c.Content)
	if err == nil {
		t.row("content", json.RawMessage(b))
	}
}

// configFlags are what can be said of a configuration besides its content.
type configFlags struct {
	condition       string
	priority        int
	labels, metrics []string
}

func (f *configFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.condition, "target-condition", "t", "", "`expression` over twins, such as tags.site = 'north'; * is all devices, \"\" none")
	cmd.Flags().IntVarP(&f.priority, "priority", "p", 0, "the configuration with the greater `number` wins")
	cmd.Flags().StringArrayVar(&f.labels, "label", nil, "`NAME=TEXT`, may be given several times")
	cmd.Flags().StringArrayVar(&f.metrics, "metric", nil, "`NAME=QUERY` whose rows are counted, may be given several times")
}

// set puts the flags that are given into c.
func (f *configFlags) set(cmd *cobra.Command, c *client.Configuration) error {
	changed := cmd.Flags().Changed
	if changed("target-condition") {
		c.TargetCondition = f.condition
	}
	if changed("priority") {
		c.Priority = f.priority
	}
	if changed("label") {
		var err error
		if c.Labels, err = assignments("--label", f.labels); err != nil {
			return err
		}
	}
	if changed("metric") {
		queries, err := assignments("--metric", f.metrics)
		if err != nil {
			return err
		}
		c.Metrics = &client.Metrics{Queries: queries}
	}
	return nil
}

// assignments reads NAME=VALUE; a single empty one is none.
func assignments(flag string, all []string) (map[string]string, error) {
	m := map[string]string{}
	if len(all) == 1 && all[0] == "" {
		return m, nil
	}
	for _, text := range all {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, usagef("%s %s: write NAME=VALUE", flag, text)
		}
		m[name] = value
	}
	return m, nil
}

// contentFlag reads a content: by itself, or as the member of a configuration.
func contentFlag(st *state.State, value string) (c client.ConfigurationContent, err error) {
	if value == "" {
		return c, usagef("--content is missing: give JSON, or @FILE to read it from a file")
	}
	text, err := jsonFlag(st, "--content", value)
	if err != nil {
		return c, err
	}
	var whole struct {
		Content json.RawMessage `json:"content"`
	}
	if json.Unmarshal(text, &whole) == nil && len(whole.Content) > 0 {
		text = whole.Content
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return c, usagef("--content: %v", err)
	}
	if c.Device == nil && c.Module == nil && c.Modules == nil {
		return c, usagef("--content has none of deviceContent, moduleContent and modulesContent")
	}
	return c, nil
}

func newCmdConfigCreate(st *state.State, l *login) *cobra.Command {
	var content string
	var f configFlags
	cmd := &cobra.Command{
		Use: "create ID", Short: "Create a configuration or an edge deployment", Args: exactArgs("ID"),
		Long: "Creates a configuration: the devices or modules under its condition get its desired properties, edge\n" +
			"devices its modules, now and later. A content @FILE is read from a file, @- from standard input; it\n" +
			"may be the member \"content\" of a larger object, as deployment manifests have it.",
		Example: "  causeway config create fan-north -t \"tags.site = 'north'\" -p 10 \\\n    --content '{\"deviceContent\": {\"properties.desired.fan\": {\"speed\": 3}}}'\n" +
			"  causeway config create base -t '*' --content @deployment.json",
	}
	out := addOutput(cmd, st)
	f.add(cmd)
	cmd.Flags().StringVarP(&content, "content", "c", "", "`JSON` of what is set, or @FILE")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c := client.Configuration{ID: args[0]}
		var err error
		if c.Content, err = contentFlag(st, content); err != nil {
			return err
		}
		if err := f.set(cmd, &c); err != nil {
			return err
		}
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			if c, err = s.CreateConfiguration(ctx, c); err != nil {
				return err
			}
			return out.print(c, func(t *table) { configTable(t, c) })
		})
	}
	return cmd
}

func newCmdConfigUpdate(st *state.State, l *login) *cobra.Command {
	var match, content string
	var f configFlags
	cmd := &cobra.Command{
		Use: "update ID", Short: "Change the condition, priority, labels or metrics of a configuration", Args: exactArgs("ID"), ValidArgsFunction: l.completeConfigurations,
		Long:    "Changes what is given; labels and metrics are replaced, \"\" removes them. The content of a\nconfiguration never changes: create another one of a higher priority. Only that of one whose problem\nis the content, which an earlier release took, is mended with --content.",
		Example: "  causeway config update fan-north -t \"tags.site IN ['north', 'south']\"",
	}
	out := addOutput(cmd, st)
	f.add(cmd)
	addMatch(cmd, &match)
	cmd.Flags().StringVarP(&content, "content", "c", "", "`JSON` in the place of a content that makes no sense any more, or @FILE")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var given client.Configuration
		err := f.set(cmd, &given)
		if err == nil && cmd.Flags().Changed("content") {
			given.Content, err = contentFlag(st, content)
		}
		if err != nil {
			return err
		}
		if !slices.ContainsFunc([]string{"target-condition", "priority", "label", "metric", "content"}, cmd.Flags().Changed) {
			return usagef("nothing to change: pass --target-condition, --priority, --label or --metric")
		}
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			c, err := s.Configuration(ctx, args[0])
			if err != nil {
				return err
			}
			if err := f.set(cmd, &c); err != nil {
				return err
			}
			if cmd.Flags().Changed("content") {
				c.Content = given.Content
			}
			if match == "" {
				match = c.ETag // what is kept is what was read
			}
			if c, err = s.UpdateConfiguration(ctx, c, match); err != nil {
				return err
			}
			return out.print(c, func(t *table) { configTable(t, c) })
		})
	}
	return cmd
}

func newCmdConfigDelete(st *state.State, l *login) *cobra.Command {
	var match string
	cmd := &cobra.Command{
		Use: "delete ID", Aliases: []string{"rm"}, Short: "Delete a configuration; what it set is taken away", Args: exactArgs("ID"), ValidArgsFunction: l.completeConfigurations,
	}
	addMatch(cmd, &match)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			if err := s.DeleteConfiguration(ctx, args[0], match); err != nil {
				return err
			}
			fmt.Fprintf(st.Stderr, "configuration %s deleted\n", args[0])
			return nil
		})
	}
	return cmd
}

func newCmdConfigTest(st *state.State, l *login) *cobra.Command {
	var condition string
	var metrics []string
	cmd := &cobra.Command{
		Use: "test", Short: "Say what is wrong with a target condition and with metrics", Args: noArgs,
		Long:    "Lets the hub read a target condition and queries of metrics. Nothing is made of them; when something\nis wrong the exit code is 1.",
		Example: "  causeway config test -t \"tags.site = 'north'\" --metric pending=\"SELECT deviceId FROM devices WHERE properties.reported.state = 'pending'\"",
	}
	out := addOutput(cmd, st)
	cmd.Flags().StringVarP(&condition, "target-condition", "t", "", "`expression` over twins")
	cmd.Flags().StringArrayVar(&metrics, "metric", nil, "`NAME=QUERY`, may be given several times")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		queries, err := assignments("--metric", metrics)
		if err != nil {
			return err
		}
		if condition == "" && len(queries) == 0 {
			return usagef("nothing to test: pass --target-condition or --metric")
		}
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			wrong, err := s.TestConfiguration(ctx, condition, queries)
			if err != nil {
				return err
			}
			if err := out.print(wrong, func(t *table) {
				if wrong.Condition != "" {
					t.row("target condition", wrong.Condition)
				}
				for _, name := range slices.Sorted(maps.Keys(wrong.Queries)) {
					t.row("metric "+name, wrong.Queries[name])
				}
			}); err != nil {
				return err
			}
			if wrong.Condition != "" || len(wrong.Queries) > 0 {
				return fmt.Errorf("the hub would refuse a configuration with these")
			}
			fmt.Fprintln(st.Stderr, "all is fine")
			return nil
		})
	}
	return cmd
}

func newCmdConfigApply(st *state.State, l *login) *cobra.Command {
	var content string
	cmd := &cobra.Command{
		Use: "apply DEVICE", Short: "Bring a content to one device, at once and once", Args: exactArgs("DEVICE"), ValidArgsFunction: l.completeDevices,
		Long:    "Writes the desired properties of a content into a device, or deploys its modules to an edge device,\nwhich deployments then leave alone until those that target it change.\nA content @FILE is read from a file, @- from standard input.",
		Example: "  causeway config apply gateway-1 --content @deployment.json",
	}
	cmd.Flags().StringVarP(&content, "content", "c", "", "`JSON` of what is set, or @FILE")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := contentFlag(st, content)
		if err != nil {
			return err
		}
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			if err := s.ApplyConfiguration(ctx, args[0], c); err != nil {
				return err
			}
			fmt.Fprintf(st.Stderr, "applied to %s\n", args[0])
			return nil
		})
	}
	return cmd
}

func newCmdConfigMetrics(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "metrics ID", Short: "Show the results of the metrics of a configuration, and their queries", Args: exactArgs("ID"), ValidArgsFunction: l.completeConfigurations,
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			c, err := s.Configuration(ctx, args[0])
			if err != nil {
				return err
			}
			both := map[string]*client.Metrics{"system": c.SystemMetrics, "custom": c.Metrics}
			return out.print(both, func(t *table) {
				t.row("metric", "result", "query")
				for _, kind := range []string{"system", "custom"} {
					m := both[kind]
					if m == nil {
						continue
					}
					for _, name := range slices.Sorted(maps.Keys(m.Queries)) {
						t.row(name, m.Results[name], m.Queries[name])
					}
				}
			})
		})
	}
	return cmd
}
