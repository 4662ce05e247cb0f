package cli

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/alecthomas/kong"

	"sealpost/relay"
)

// environmentPrefix begins the name of a setting in the environment:
// SEALPOST_TLS_CERT is --tls-cert.
const environmentPrefix = "SEALPOST_"

// settings find what the command line does not say: in the environment, and then
// in a file. They are a kong.Resolver for the flags of one command.
type settings struct {
	path   string         // of the file; "" if there is none
	file   map[string]any // by flag
	places map[string]string
}

// limitPrefix begins the name of a setting that is a limit.
const limitPrefix = "limit-"

// notSettings are flags that a file cannot hold.
var notSettings = []string{"help", "config", "print-config"}

// BeforeResolve is called by kong when the command line is read, and before it is
// applied.
func (c *serverCommand) BeforeResolve(ctx *kong.Context) error {
	c.Limits = relay.DefaultLimits()
	c.settings = &settings{places: make(map[string]string)}
	c.settings.path = os.Getenv(environmentPrefix + "CONFIG")
	for _, path := range ctx.Path {
		if path.Flag == nil {
			continue
		}
		c.settings.places[path.Flag.Name] = "command line"
		if path.Flag.Name == "config" {
			c.settings.path = ctx.FlagValue(path.Flag).(string)
		}
	}
	if c.settings.path != "" {
		if err := c.settings.read(ctx.Selected().Flags); err != nil {
			return fmt.Errorf("reading the settings in %s: %w", c.settings.path, err)
		}
	}
	if err := checkEnvironment(ctx.Selected().Flags); err != nil {
		return err
	}
	ctx.AddResolver(c.settings)
	return nil
}

// variableOf is what a setting is called in the environment.
func variableOf(setting string) string {
	return environmentPrefix + strings.ToUpper(strings.ReplaceAll(setting, "-", "_"))
}

// checkEnvironment refuses limits that there are not: a mistyped one would leave the
// default in effect, and nobody would know. Other variables may be somebody else's,
// such as SEALPOST_PORT, which container managers set for their own ends.
func checkEnvironment(flags []*kong.Flag) error {
	variables := make([]string, len(flags))
	for i, flag := range flags {
		variables[i] = variableOf(flag.Name)
	}
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, variableOf(limitPrefix)) && !slices.Contains(variables, name) {
			return fmt.Errorf("there is no setting %s in the environment%s", name, meant(name, variables))
		}
	}
	return nil
}

// meant asks whether a name close to the mistyped one was meant, where there is one.
func meant(typed string, names []string) string {
	for _, name := range names {
		if distance(typed, name) <= 2 {
			return fmt.Sprintf("; did you mean %s?", name)
		}
	}
	return ""
}

// read reads the file and refuses what is no setting.
func (s *settings) read(flags []*kong.Flag) error {
	text, err := os.ReadFile(s.path)
	if err != nil {
		return err
	}
	if err := toml.Unmarshal(text, &s.file); err != nil {
		return err
	}
	var names []string
	for _, flag := range flags {
		if isSetting(flag) {
			names = append(names, flag.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.file)) {
		kind := reflect.TypeOf(s.file[name]).Kind()
		switch known := slices.Contains(names, name); {
		case !known && kind == reflect.Map:
			return fmt.Errorf("settings stand in no section, and there is [%s]; a limit is a line such as limit-members = 500", name)
		case !known:
			return fmt.Errorf("there is no setting %q%s", name, meant(name, names))
		case kind == reflect.Map || kind == reflect.Slice:
			return fmt.Errorf("%s is not one value", name)
		}
	}
	return nil
}

// check refuses values with which no server can run.
func (s *settings) check(flags []*kong.Flag) error {
	for _, flag := range flags {
		value := flag.Target
		if strings.HasPrefix(flag.Name, limitPrefix) && value.CanInt() && value.Int() <= 0 {
			return usageError(fmt.Errorf("--%s: from %s: it has to be greater than 0", flag.Name, s.place(flag)))
		}
	}
	return nil
}

func (s *settings) place(flag *kong.Flag) string { return cmp.Or(s.places[flag.Name], "default") }

func isSetting(f *kong.Flag) bool { return !slices.Contains(notSettings, f.Name) }

// Validate implements kong.Resolver.
func (s *settings) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver.
func (s *settings) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if !isSetting(flag) {
		return nil, nil
	}
	variable := variableOf(flag.Name)
	place := variable + " in the environment"
	text := os.Getenv(variable)
	if text == "" {
		value, found := s.file[flag.Name]
		if !found {
			return nil, nil
		}
		text, place = fmt.Sprint(value), s.path
	}
	// kong would not say where a value that does not parse stands.
	scan := kong.ScanFromTokens(kong.Token{Type: kong.FlagValueToken, Value: text})
	if err := flag.Parse(scan, reflect.New(flag.Target.Type()).Elem()); err != nil {
		return nil, fmt.Errorf("from %s: %s", place, strings.TrimPrefix(err.Error(), "--"+flag.Name+": "))
	}
	s.places[flag.Name] = place
	return text, nil
}

// print writes the settings as a file that says the same, and where each came
// from.
func (s *settings) print(w io.Writer, flags []*kong.Flag) error {
	for _, flag := range flags {
		if !isSetting(flag) {
			continue
		}
		value := flag.Target.Interface()
		if duration, ok := value.(time.Duration); ok {
			value = duration.String()
		}
		line, err := toml.Marshal(map[string]any{flag.Name: value})
		if err != nil {
			return fmt.Errorf("printing %s: %w", flag.Name, err)
		}
		if _, err := fmt.Fprintf(w, "%s # %s\n", strings.TrimSpace(string(line)), s.place(flag)); err != nil {
			return fmt.Errorf("printing the settings: %w", err)
		}
	}
	return nil
}
