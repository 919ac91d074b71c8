// Prints ../keys_kafka.go: every configuration key of the Apache Kafka release on the class path, with type, default,
// accepted values, synonyms, whether it is dynamic, and its description. Run by `make keys`.
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.kafka.common.config.ConfigDef;

public class KafkaKeys {
    private static final Pattern RANGE = Pattern.compile("\\[(-?[0-9.]+),\\.\\.\\.(?:,(-?[0-9.]+))?\\]( or -1)?");
    private static final Pattern ONE_OF = Pattern.compile("(\\(case insensitive\\) )?\\[([A-Za-z][^\\[\\]:.]*)\\]");

    private static String quote(String s) {
        return "\"" + s.replace("\\", "\\\\").replace("\"", "\\\"") + "\"";
    }

    private static String text(String html) {
        String s = html == null ? "" : html;
        s = s.replaceAll("<(?:li|p|br|ul|ol)[^>]*/?>", " ").replaceAll("</?[a-zA-Z][^>]*>", "");
        s = s.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").replace("&quot;", "\"");
        return s.replaceAll("\\s+", " ").trim();
    }

    private static String fields(ConfigDef.ConfigKey k) {
        StringBuilder b = new StringBuilder();
        b.append("Name: ").append(quote(k.name));
        String type = k.type.name().charAt(0) + k.type.name().substring(1).toLowerCase();
        b.append(", Type: ").append(type);
        Object def = k.defaultValue;
        if (def == null || def == ConfigDef.NO_DEFAULT_VALUE) {
            b.append(", Null: true");
        } else {
            String v = ConfigDef.convertToString(def, k.type);
            if (!v.isEmpty()) {
                b.append(", Default: ").append(quote(v));
            }
        }
        String valid = k.validator == null ? "" : String.valueOf(k.validator);
        Matcher m = RANGE.matcher(valid);
        Matcher o = ONE_OF.matcher(valid);
        if (m.matches()) {
            b.append(", Min: ").append(quote(m.group(1)));
            if (m.group(2) != null) {
                b.append(", Max: ").append(quote(m.group(2)));
            }
            if (m.group(3) != null) {
                b.append(", OrElse: \"-1\"");
            }
        } else if (o.matches()) {
            b.append(", OneOf: []string{");
            String sep = "";
            for (String v : o.group(2).split(", *")) {
                b.append(sep).append(quote(v));
                sep = ", ";
            }
            b.append("}");
            if (o.group(1) != null) {
                b.append(", FoldCase: true");
            }
        }
        if (k.internalConfig) {
            b.append(", Internal: true");
        }
        return b.toString();
    }

    private static String synonyms(Object list) throws Exception {
        StringBuilder b = new StringBuilder();
        String sep = ", Synonyms: []Synonym{";
        for (Object s : (List<?>) list) {
            String name = (String) s.getClass().getMethod("name").invoke(s);
            @SuppressWarnings("unchecked")
            var convert = (java.util.function.Function<String, String>) s.getClass().getMethod("converter").invoke(s);
            long factor;
            try {
                factor = Long.parseLong(convert.apply("1"));
            } catch (NumberFormatException notANumber) {
                factor = 1;
            }
            b.append(sep).append("{").append(quote(name)).append(", ").append(factor).append("}");
            sep = ", ";
        }
        return b.append("}").toString();
    }

    private static void print(String variable, String doc, ConfigDef def, Map<String, ?> synonyms, Collection<?> dynamic)
            throws Exception {
        System.out.println("\n// " + variable + " " + doc);
        System.out.println("var " + variable + " = []Key{");
        for (ConfigDef.ConfigKey k : new TreeMap<>(def.configKeys()).values()) {
            String extra = synonyms.containsKey(k.name) ? synonyms(synonyms.get(k.name)) : "";
            if (dynamic.contains(k.name)) {
                extra += ", Dynamic: true";
            }
            System.out.println("\t{" + fields(k) + extra + ", Doc: " + quote(text(k.documentation)) + "},");
        }
        System.out.println("}");
    }

    public static void main(String[] args) throws Exception {
        ConfigDef broker = (ConfigDef) Class.forName("kafka.server.KafkaConfig").getMethod("configDef").invoke(null);
        ConfigDef topic = (ConfigDef) Class.forName("org.apache.kafka.storage.internals.log.LogConfig")
                .getMethod("configDefCopy").invoke(null);
        Map<String, ?> synonyms = (Map<String, ?>) Class.forName("org.apache.kafka.server.config.ServerTopicConfigSynonyms")
                .getField("ALL_TOPIC_CONFIG_SYNONYMS").get(null);
        Collection<?> dynamic = (Collection<?>) Class.forName("org.apache.kafka.server.config.DynamicBrokerConfig")
                .getField("ALL_DYNAMIC_CONFIGS").get(null);
        var about = new java.util.Properties();
        try (var in = ConfigDef.class.getResourceAsStream("/kafka/kafka-version.properties")) {
            about.load(in);
        }
        String version = about.getProperty("version");
        System.out.println("// Code generated by gen/KafkaKeys.java from Apache Kafka " + version
                + "; DO NOT EDIT.");
        System.out.println("// Names, defaults and descriptions are Apache Kafka's (Apache License 2.0).\n");
        System.out.println("package config");
        System.out.println("\n// KafkaVersion is the Apache Kafka release whose keys are listed here.");
        System.out.println("const KafkaVersion = " + quote(version));
        print("kafkaBrokerKeys", "are the keys of server.properties.", broker, Map.of(), dynamic);
        print("kafkaTopicKeys", "are the keys of a topic.", topic, synonyms, new ArrayList<>(topic.names()));
    }
}
