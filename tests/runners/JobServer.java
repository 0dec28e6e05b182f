import java.io.File;
import java.util.Comparator;
import java.util.stream.Stream;
import org.apache.beam.runners.flink.FlinkJobServerDriver;

/**
 * Beam's job server, whose jobs bring no jars: the cluster has them in its class path.
 *
 * <p>With every job it sends the whole class path that it finds in this property to the cluster, 300 MB, for 15 seconds.
 */
public final class JobServer {
  public static void main(String[] arguments) throws Exception {
    String name = "java.class.path";
    Stream<String> jars = Stream.of(System.getProperty(name).split(File.pathSeparator));
    // No jar at all would stand for the working directory.
    System.setProperty(name, jars.min(Comparator.comparing(jar -> new File(jar).length())).orElseThrow());
    FlinkJobServerDriver.main(arguments);
  }
}
