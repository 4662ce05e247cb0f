package cli

import (
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
	ctx.AddResolver(c.settings)
	return nil
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
	for _, name := range slices.Sorted(maps.Keys(s.file)) {
		if !slices.ContainsFunc(flags, func(f *kong.Flag) bool { return f.Name == name && isSetting(f) }) {
			return fmt.Errorf("there is no setting %q", name)
		}
		if kind := reflect.TypeOf(s.file[name]).Kind(); kind == reflect.Map || kind == reflect.Slice {
			return fmt.Errorf("%s is not one value", name)
		}
	}
	return nil
}

func isSetting(f *kong.Flag) bool { return !slices.Contains(notSettings, f.Name) }

// Validate implements kong.Resolver.
func (s *settings) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver.
func (s *settings) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if !isSetting(flag) {
		return nil, nil
	}
	variable := environmentPrefix + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
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
		return nil, fmt.Errorf("from %s: %w", place, err)
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
		place := s.places[flag.Name]
		if place == "" {
			place = "default"
		}
		value := flag.Target.Interface()
		if duration, ok := value.(time.Duration); ok {
			value = duration.String()
		}
		line, err := toml.Marshal(map[string]any{flag.Name: value})
		if err != nil {
			return fmt.Errorf("printing %s: %w", flag.Name, err)
		}
		if _, err := fmt.Fprintf(w, "%s # %s\n", strings.TrimSpace(string(line)), place); err != nil {
			return fmt.Errorf("printing the settings: %w", err)
		}
	}
	return nil
}
